"""Dividing questions among splits: drawn from a seed, by groups that stay together, evenly over the data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from zs_env.questions.prepare.reading import Item
from zs_env.questions.prepare.settings import TRAIN

__all__ = ["divide"]


def divide(items: Sequence[Item], groups: Sequence[int], shares: Mapping[str, float] | None, seed: int) -> list[str]:
    """The split of each item.

    A group goes by the one of its questions whose id comes first. The groups of a data set are put in an order that a
    hash of the seed and of that id draws, and cut where the shares end; where in its own part of that order a group
    counts is drawn too, once for each data set, so that many small ones have the shares together. So a share holds to
    within the size of a group in each data set, and the order of the questions changes nothing.

    Args:
        items: The questions.
        groups: For each, the place of the first one of its group.
        shares: The share of each split; None puts all into `train`.
        seed: What the order is drawn from.
    """
    if shares is None:
        return [TRAIN] * len(items)
    members: dict[int, list[int]] = {}
    for at, group in enumerate(groups):
        members.setdefault(group, []).append(at)
    strata: dict[str, list[tuple[bytes, list[int]]]] = {}
    for together in members.values():
        first = min((items[at] for at in together), key=lambda item: item.id)
        strata.setdefault(first.data_source, []).append((_draw(seed, first.id), together))
    splits = [TRAIN] * len(items)
    for data_source, stratum in strata.items():
        within = int.from_bytes(_draw(seed, f"data set {data_source}")[:8], "big") / 2**64
        total = sum(len(together) for _, together in stratum)
        done = 0
        for _, together in sorted(stratum):
            name = _at((done + within * len(together)) / total, shares)
            for at in together:
                splits[at] = name
            done += len(together)
    return splits


def _draw(seed: int, identifier: str) -> bytes:
    return hashlib.sha256(f"{seed}:{identifier}".encode()).digest()


def _at(position: float, shares: Mapping[str, float]) -> str:
    """The split whose share of [0, 1) holds a position."""
    end = 0.0
    for name, share in shares.items():
        end += share
        if position < end:
            return name
    return name
