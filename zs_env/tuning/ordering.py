"""In which order examples are learned: shuffled, but micro-batches of about one length, to waste no padding.

Examples of one search, whose prompts differ in what they ask for alone, follow each other. Learned in one step, what
they have in common cancels out of the difference between them, which is what a simulator is to learn.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

__all__ = ["learning_order", "padding_share"]

_POOL = 32
"""Micro-batches that are sorted by length together: few enough that a step still holds a mixed lot."""


def learning_order(
    lengths: Sequence[int],
    *,
    num_epochs: float,
    micro_batch_size: int,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> list[int]:
    """Places of examples, in the order in which they are learned, all epochs one after the other.

    The whole order is laid down before the training begins, so that one that was stopped goes on as if it hadn't been.

    Args:
        lengths: Tokens of each example.
        num_epochs: How often each is learned; of a part of an epoch, that share of the examples.
        micro_batch_size: So many that follow each other are computed together.
        seed: The order's seed.
        groups: What each example belongs to: those of one group follow each other. Left out: each is by itself.

    Examples:
        >>> sorted(learning_order([5, 9, 7], num_epochs=2, micro_batch_size=2, seed=0))
        [0, 0, 1, 1, 2, 2]
    """
    rng = random.Random(seed)
    num_left = max(round(num_epochs * len(lengths)), 1)
    together: dict[Hashable, list[int]] = {}
    for place in range(len(lengths)):
        together.setdefault(place if groups is None else groups[place], []).append(place)
    longest = {place: max(lengths[one] for one in some) for some in together.values() for place in some}
    shuffled: list[int] = []
    while len(shuffled) < num_left:
        epoch = list(together.values())
        rng.shuffle(epoch)
        shuffled += [place for some in epoch for place in some][: num_left - len(shuffled)]
    ordered: list[int] = []
    for start in range(0, num_left, _POOL * micro_batch_size):
        pool = sorted(shuffled[start : start + _POOL * micro_batch_size], key=lambda place: longest[place])
        odd = len(pool) % micro_batch_size  # those that fill no micro-batch go last, where the order ends
        head, tail = pool[odd:], pool[:odd]
        batches = [head[at : at + micro_batch_size] for at in range(0, len(head), micro_batch_size)]
        rng.shuffle(batches)
        ordered += [place for batch in batches for place in batch] + tail
    return ordered


def padding_share(lengths: Sequence[int], order: Sequence[int], micro_batch_size: int) -> float:
    """The share of computed tokens that are padding, 0 to 1."""
    used = computed = 0
    for start in range(0, len(order), micro_batch_size):
        batch = [lengths[place] for place in order[start : start + micro_batch_size]]
        used += sum(batch)
        computed += max(batch) * len(batch)
    return 1 - used / computed if computed else 0.0
