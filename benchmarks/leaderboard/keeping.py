"""Episodes on the disk as they end, so that an evaluation that was stopped goes on where it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.scrubbing import scrub_episode
from zs_env.tuning.keeping import KeptFile, differences

__all__ = ["KEPT", "KeptEpisodes", "settings_of", "what_differs"]

KEPT = ".episodes.jsonl"
"""The file beside a record that is being made."""

SCHEMA = "zerosearch.leaderboard.kept/1"

_NO_MATTER = ("concurrency", "judge", "prices")
"""Settings that no episode depends on: they may be others when an evaluation goes on."""

_OF_A_SET = ("name", "source", "split", "revision", "size", "limit", "source_fingerprint", "fingerprint")


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record its episodes depend on: two evaluations that agree in it may be one."""
    kept = {name: record[name] for name in ("version", "row", "engine", "suite", "agent", "model", "fingerprints")}
    kept["sets"] = {one["name"]: {name: one.get(name) for name in _OF_A_SET} for one in record["sets"]}
    kept["settings"] = {name: value for name, value in record["settings"].items() if name not in _NO_MATTER}
    return kept


class KeptEpisodes:
    """The episodes of one record, each written as it ends.

    An episode that failed is kept, and taken the place of by one of the same question that is kept later.

    Args:
        path: The file; it is made if it isn't there.
        settings: What the episodes depend on; a file of others is refused.
        before: Episodes of a record that was written before, in case the file isn't there any more.

    Raises:
        ConfigError: The file holds what other settings gave, is being written by another command, or can't be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, before: Iterable[PlayedEpisode] = ()) -> None:
        self._file = KeptFile(path, {"schema": SCHEMA, **settings}, instead="name another folder with --out")
        self._lock = threading.Lock()
        self._closed = False
        self._began = time.perf_counter()
        self._earlier: dict[int, float] = {}
        self._episodes = {(episode.set, episode.index): episode for episode in before}
        for row in self._file.rows:
            episode = PlayedEpisode.from_json(row["episode"])
            self._episodes[episode.set, episode.index] = episode
            self._earlier[row["part"]] = row["at_s"]
        self._file.rows.clear()
        self._part = max(self._earlier, default=-1) + 1

    @property
    def episodes(self) -> list[PlayedEpisode]:
        """All of them, in the order of sets and questions, the last one of each question."""
        with self._lock:
            return [self._episodes[key] for key in sorted(self._episodes)]

    @property
    def earlier_s(self) -> float:
        """Seconds that earlier commands played, each up to the last episode that it kept."""
        return sum(self._earlier.values())

    def is_done(self, key: tuple[str, int]) -> bool:
        """Whether a question was played, and nothing failed it."""
        with self._lock:
            return key in self._episodes and not self._episodes[key].failed

    def keep(self, episode: PlayedEpisode) -> None:
        """Write an episode; it is safe from a kill once this returns. From any thread; nothing after `close`.

        Raises:
            ConfigError: It can't be written, as on a full disk.
        """
        episode = scrub_episode(episode)
        with self._lock:
            if self._closed:
                return
            at_s = time.perf_counter() - self._began
            self._file.write([{"part": self._part, "at_s": at_s, "episode": episode.to_json()}])
            self._episodes[episode.set, episode.index] = episode

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._file.close()


def what_differs(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What of two records' settings differs, in words."""
    return differences(settings_of(found), settings_of(wanted))
