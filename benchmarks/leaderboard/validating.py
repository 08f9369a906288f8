"""Hold a record against its own episodes, its suite's pins, and what no record may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.errors import RecordError
from benchmarks.leaderboard.records import EPISODES, episodes_sha256, read_record

__all__ = ["CostsOf", "validate_record"]

CostsOf = Callable[[Mapping[str, Any], Sequence[PlayedEpisode]], Mapping[tuple[str, int], float] | None]
"""What each question cost, by (set, index), from a record's content and its episodes."""


def validate_record(folder: Path, *, costs_of: CostsOf | None = None) -> list[str]:
    """What is wrong with a record; empty if nothing is.

    Args:
        folder: The record's folder.
        costs_of: Makes costs again, so that they are checked, too.
    """
    try:
        record = read_record(folder)
        found = episodes_sha256(folder / EPISODES)
    except RecordError as error:
        return [str(error)]
    held = record.content.get("episodes", {})
    return [] if found == held.get("sha256") else [f"{EPISODES} isn't the file that the record was made of."]
