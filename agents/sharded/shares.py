"""A batch in parts, one a learner, that together weigh what the whole does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.accumulation import Example
from agents.losses import Aggregation, token_weights
from agents.trajectory import Trajectory

__all__ = ["Share", "put_together", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A learner's part of a batch.

    Attributes:
        indices: Which of the batch's examples these are, rising.
        examples: They; there may be none.
        weights: [len(examples)], float32: what each policy token of an example weighs in the whole batch's loss.
        num_tokens: Policy tokens of the whole batch.
        filler: The shortest episode of the batch: what a learner passes through with weight 0 while others are still
            at work, since all of them must make the same number of passes.
    """

    indices: tuple[int, ...]
    examples: tuple[Example, ...]
    weights: Tensor
    num_tokens: int
    filler: Trajectory


def split(examples: Sequence[Example], num_learners: int, aggregation: Aggregation | None) -> list[Share]:
    """Split a batch into shares of about as many tokens each, the same ones each time.

    Whole groups stay together, as their episodes share a prompt; unless there are fewer groups than learners.

    Args:
        examples: The whole batch, at least one.
        num_learners: How many shares.
        aggregation: How tokens share the loss; None where nothing is differentiated, and weights are 0.

    Returns:
        One share a learner; some are empty if there are fewer examples than learners.
    """
    assert examples, "a batch has at least one example"
    groups: dict[int, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.trajectory.group, []).append(index)
    units = list(groups.values()) if len(groups) >= num_learners else [[index] for index in range(len(examples))]
    sizes = [example.trajectory.num_tokens for example in examples]
    chosen: list[list[int]] = [[] for _ in range(num_learners)]
    loads = [0] * num_learners
    for unit in sorted(units, key=lambda unit: -sum(sizes[index] for index in unit)):  # the longest first, and stable
        lightest = loads.index(min(loads))
        chosen[lightest] += unit
        loads[lightest] += sum(sizes[index] for index in unit)
    lengths = torch.tensor([example.trajectory.num_policy_tokens for example in examples])
    weights = torch.zeros(len(examples)) if aggregation is None else token_weights(lengths, aggregation)
    shortest = min(examples, key=lambda example: example.trajectory.num_tokens).trajectory
    return [
        Share(
            indices=tuple(sorted(part)),
            examples=tuple(examples[index] for index in sorted(part)),
            weights=weights[sorted(part)],
            num_tokens=int(lengths.sum()),
            filler=shortest,
        )
        for part in chosen
    ]


def put_together(shares: Sequence[Share], found: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """What was found for each example of each share, in the order of the batch that was split."""
    pairs = (
        (index, one)
        for share, of_share in zip(shares, found, strict=True)
        for index, one in zip(share.indices, of_share, strict=True)
    )
    return [one for _, one in sorted(pairs, key=lambda pair: pair[0])]
