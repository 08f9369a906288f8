"""Train, dev and test by document: nothing of a test document was seen in training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zs_env.errors import ConfigError
from zs_env.likeness import near_repeats

__all__ = ["SPLITS", "Shares", "near_across", "order_of", "split_documents"]

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Which share of the questions dev and test get, about: documents aren't cut.

    Raises:
        ConfigError: A share isn't in [0, 1), or nothing is left for training.
    """

    dev: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.dev < 1 and 0 <= self.test < 1 and self.dev + self.test < 1):
            raise ConfigError(
                f"The shares of dev and test are in [0, 1) and leave something for training; got dev={self.dev} and "
                f"test={self.test}."
            )


def order_of(text: str, seed: int) -> bytes:
    """A key that puts texts in an order of chance, the same in every run.

    Examples:
        >>> sorted(["a", "b", "c"], key=lambda text: order_of(text, 1))
        ['b', 'c', 'a']
    """
    return hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=16).digest()


def split_documents(num_questions: Mapping[str, int], shares: Shares, seed: int) -> dict[str, str]:
    """Give each document a split: those with the most questions first, each where most is missing.

    Args:
        num_questions: Documents, and how many questions each has.
        shares: Which share of the questions dev and test get.
        seed: Decides between documents of the same size.

    Examples:
        >>> split_documents({"a.md": 7, "b.md": 1, "c.md": 2}, Shares(dev=0.1, test=0.2), seed=0)
        {'a.md': 'train', 'c.md': 'test', 'b.md': 'dev'}
    """
    total = sum(num_questions.values())
    wanted = {"train": 1 - shares.dev - shares.test, "dev": shares.dev, "test": shares.test}
    given: Counter[str] = Counter()
    split: dict[str, str] = {}
    for document in sorted(num_questions, key=lambda name: (-num_questions[name], order_of(name, seed))):
        chosen = max(SPLITS, key=lambda name: wanted[name] * total - given[name])
        split[document] = chosen
        given[chosen] += num_questions[document]
    return split


def near_across(texts: Sequence[str], splits: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of places whose texts nearly repeat each other and whose splits differ."""
    return [
        (earlier, later)
        for later, earlier_ones in enumerate(near_repeats(texts))
        for earlier in earlier_ones
        if splits[earlier] != splits[later]
    ]
