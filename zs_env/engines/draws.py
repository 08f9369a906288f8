"""Cheap random numbers from a seed: the same on every machine, without a generator object a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["PRIME", "Draws", "mix"]

T = TypeVar("T")

PRIME = 2**31 - 1
"""The modulus of the draws: x becomes 48271 x mod PRIME (MINSTD)."""


def mix(seed: int) -> int:
    """Scatter a seed of up to 64 bits over 31 bits: neighbouring seeds far apart (Fibonacci hashing, halves folded).

    Examples:
        >>> [mix(seed) % 10 for seed in range(8)]
        [0, 4, 1, 6, 2, 9, 4, 1]
    """
    return ((seed ^ seed >> 32) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 33


class Draws:
    """A stream of draws, small and fast and good enough to pick sentences."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = mix(seed + 1) % (PRIME - 1) + 1

    def below(self, limit: int) -> int:
        """An integer in [0, limit)."""
        self._state = self._state * 48271 % PRIME
        return self._state % limit

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, which must not be empty."""
        return options[self.below(len(options))]

    def shuffle(self, items: list[T]) -> list[T]:
        """Put a list in random order, in place, and return it."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items
