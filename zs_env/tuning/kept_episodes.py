"""The two files of collected searches: the searches, and a line for each episode that was played to its end.

A line says where its episode's searches end in the first file. So what a kill or a power cut leaves of the two is told:
lines whose searches aren't there, and searches that have no line, are taken away when they are opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.tuning.keeping import KeptFile, has_rows
from zs_env.tuning.records import CollectedSearch

__all__ = ["EPISODES", "KeptEpisodes", "episodes_path"]

EPISODES = "zerosearch.episodes/1"


def episodes_path(path: Path) -> Path:
    """Where the lines of episodes are, beside the searches."""
    return path.with_name(f"{path.stem}.episodes.jsonl")


class KeptEpisodes:
    """The two files, in step with each other, for one command at a time.

    Args:
        path: The file of searches.
        header: Its header.

    Attributes:
        episodes: The lines of whole episodes, in order.
        keys: Their keys.

    Raises:
        ConfigError: The files are of other settings, or one of them is missing.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        beside = episodes_path(path)
        for there, missing in ((path, beside), (beside, path)):
            if not missing.exists() and has_rows(there):
                raise ConfigError(
                    f"{str(there)!r} is there without {missing.name!r} beside it, so that it can't be told which "
                    "episodes are whole: put that back, or give the path of another file."
                )
        self._lines = KeptFile(beside, {**header, "schema": EPISODES})
        try:
            self._searches = KeptFile(path, header)
        except BaseException:
            self._lines.close()
            raise
        ends = [0, *(row["end"] for row in self._lines.rows)]
        whole = sum(end <= self._searches.size for end in ends) - 1
        self.episodes = self._lines.rows[:whole]
        self.keys = {row["key"] for row in self.episodes}
        if whole < len(self._lines.rows):
            self._lines.cut(self._lines.ends[whole - 1] if whole else _header_bytes(beside))
        self._searches.cut(ends[whole] if whole else _header_bytes(path))

    def add(self, row: Mapping[str, Any], searches: Sequence[CollectedSearch]) -> None:
        """Write an episode: its line, and its searches; both or neither.

        Raises:
            ConfigError: They can't be written.
        """
        before = self._searches.size, self._lines.size
        try:
            self._searches.write([search.to_json() for search in searches])
            line = {**row, "end": self._searches.size}
            self._lines.write([line])
        except BaseException:
            self._searches.cut(before[0])
            self._lines.cut(before[1])
            raise
        self.episodes.append(line)
        self.keys.add(line["key"])

    def close(self) -> None:
        """Close both, with all of them on the disk."""
        self._searches.close()
        self._lines.close()


def _header_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return len(file.readline())
