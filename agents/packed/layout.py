"""Which tokens of a packed row see which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["PackedLayout", "Segment"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens, each of which sees those before it in the run, and all of the run's prefix.

    Attributes:
        start: Where it begins in the packed row.
        length: Its tokens, at least 1.
        prefix_start: Where the run begins that stands before it; 0 if there is none.
        prefix_length: The tokens of that run; 0 if there is none.
    """

    start: int
    length: int
    prefix_start: int = 0
    prefix_length: int = 0

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + self.length


@dataclass(frozen=True)
class PackedLayout:
    """The segments of a packed row of T tokens, which they cover without a gap.

    Attributes:
        segments: In order. A prefix has none itself: what shares a prompt is one level deep.
    """

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        at, heads = 0, {(segment.start, segment.length) for segment in self.segments if not segment.prefix_length}
        for segment in self.segments:
            assert segment.start == at, f"segment {segment} doesn't begin where the one before it ends ({at})"
            assert segment.length > 0, f"segment {segment} is empty"
            prefix = (segment.prefix_start, segment.prefix_length)
            assert not segment.prefix_length or prefix in heads, f"the prefix of {segment} is no segment"
            at = segment.end

    @classmethod
    def of(cls, trees: Sequence[tuple[int, Sequence[int]]]) -> PackedLayout:
        """Prefixes, each followed by the runs that continue it.

        Args:
            trees: For each, the prefix's length (0 for none) and the lengths of what continues it.

        Examples:
            >>> layout = PackedLayout.of([(3, [2, 1]), (0, [4])])
            >>> [(one.start, one.length, one.prefix_length) for one in layout.segments]
            [(0, 3, 0), (3, 2, 3), (5, 1, 3), (6, 4, 0)]
        """
        segments: list[Segment] = []
        at = 0
        for prefix, tails in trees:
            start = at
            if prefix:
                segments.append(Segment(at, prefix))
                at += prefix
            for length in tails:
                segments.append(Segment(at, length, start if prefix else 0, prefix))
                at += length
        return cls(tuple(segments))

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.segments[-1].end if self.segments else 0

    def positions(self) -> Tensor:
        """[T], int64: each token's place in its episode, the prefix counted."""
        runs = [torch.arange(one.length) + one.prefix_length for one in self.segments]
        return torch.cat(runs) if runs else torch.zeros(0, dtype=torch.long)

    @cached_property
    def gathered(self) -> tuple[Tensor, Tensor, Tensor, int, int]:
        """For kernels that take runs of different lengths end to end, the prefix copied before each of its runs.

        Returns:
            - [K], int64: which tokens' keys to lay end to end.
            - [S + 1], int32: where the queries of each segment begin, and the end of the last.
            - [S + 1], int32: the same for the keys.
            - The most queries of a segment, and the most keys.
        """
        keys = [
            torch.cat(
                (
                    torch.arange(one.prefix_start, one.prefix_start + one.prefix_length),
                    torch.arange(one.start, one.end),
                )
            )
            for one in self.segments
        ]
        num_queries = torch.tensor([0] + [one.length for one in self.segments])
        num_keys = torch.tensor([0] + [len(one) for one in keys])
        return (
            torch.cat(keys),
            num_queries.cumsum(0).to(torch.int32),
            num_keys.cumsum(0).to(torch.int32),
            int(num_queries.max()),
            int(num_keys.max()),
        )

    def gathered_on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, int, int]:
        """`gathered` on a device, copied there once: each layer asks for it."""
        if device not in self._copies:
            order, query_ends, key_ends, most_queries, most_keys = self.gathered
            copied = (order.to(device), query_ends.to(device), key_ends.to(device))
            self._copies[device] = (*copied, most_queries, most_keys)
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, tuple[Tensor, Tensor, Tensor, int, int]]:
        return {}

    def visible(self) -> Tensor:
        """[T, T], bool: whether the token of a row sees that of a column. Naive, for tests."""
        mask = torch.zeros(self.num_tokens, self.num_tokens, dtype=torch.bool)
        for one in self.segments:
            mask[one.start : one.end, one.prefix_start : one.prefix_start + one.prefix_length] = True
            mask[one.start : one.end, one.start : one.end] = torch.ones(one.length, one.length, dtype=torch.bool).tril()
        return mask

    @staticmethod
    def blocks(segment: Segment, size: int) -> Iterator[tuple[int, int]]:
        """A segment's queries in blocks of at most `size`: the first of each, and its end, within the segment."""
        for first in range(0, segment.length, size):
            yield first, min(first + size, segment.length)
