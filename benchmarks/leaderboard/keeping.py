"""Episodes on the disk as they end, so that an evaluation that was stopped goes on where it was."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.records import Record
from benchmarks.leaderboard.scrubbing import scrub_episode
from benchmarks.leaderboard.slugs import USUAL_SETTINGS
from zs_env.errors import ConfigError
from zs_env.tuning.keeping import KeptFile, differences, has_rows, is_busy, read_header

__all__ = ["KEPT", "KeptEpisodes", "check_unfinished", "settings_of"]

KEPT = ".episodes.jsonl"
"""The file in a record's folder while the record is being made."""

SCHEMA = "zerosearch.leaderboard.kept/1"

_INSTEAD = "take the record's folder away to begin anew, or name another with --out"

_NO_MATTER = ("concurrency", "judge", "prices", "tokens")
"""Settings that no episode depends on: they may be others when an evaluation goes on."""

_AFTERWARDS = ("served_as",)
"""What a server says of itself once it was asked."""

_OF_A_SET = ("source", "split", "revision", "size", "limit", "source_fingerprint", "fingerprint")


def settings_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record's content its episodes depend on: two evaluations that agree in it may be one."""
    kept: dict[str, Any] = {
        name: content[name] for name in ("version", "row", "engine", "suite", "agent", "fingerprints")
    }
    kept["model"] = {name: value for name, value in content["model"].items() if name not in _AFTERWARDS}
    kept["sets"] = {each["name"]: {name: each.get(name) for name in _OF_A_SET} for each in content["sets"]}
    settings = {**USUAL_SETTINGS, **content["settings"]}
    kept["settings"] = {name: value for name, value in settings.items() if name not in _NO_MATTER}
    return kept


def check_unfinished(folder: Path, content: Mapping[str, Any]) -> None:
    """See that no evaluation of the same row was stopped that has other settings: this one wouldn't go on with it.

    Evaluations that are being made at the moment don't count.

    Args:
        folder: Where the record goes; others of its row lie beside it.
        content: The record's, as far as it is known before anything is played.

    Raises:
        ConfigError: There is one; the message says what differs.
    """
    row = folder.name.rpartition("--")[0]
    for path in sorted(folder.parent.glob(f"{row}--*/{KEPT}")):
        if path.parent == folder or not has_rows(path) or is_busy(path):
            continue
        header = read_header(path) or {}
        header.pop("schema", None)
        differs = differences(header, json.loads(json.dumps(settings_of(content))))
        raise ConfigError(
            f"An evaluation of this row was stopped, and this one has other settings: {'; '.join(differs[:8])}. Give "
            f"the same settings to go on with it, or --new to leave it ({path.parent.name}) and begin another."
        )


class KeptEpisodes:
    """The episodes of one record, each written as it ends.

    An episode that failed is kept, and taken the place of by one of the same question that is kept later.

    Args:
        path: The file; it is made if it isn't there.
        settings: What the episodes depend on; a file of others is refused.
        before: The record that was written before, in case the file isn't there any more.

    Attributes:
        path: The file.

    Raises:
        ConfigError: The file holds what other settings gave, is being written by another command, or can't be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, before: Record | None = None) -> None:
        self.path = path
        is_new = not has_rows(path)
        self._file = KeptFile(path, {"schema": SCHEMA, **settings}, instead=_INSTEAD)
        self._lock = threading.Lock()
        self._closed = False
        self._began = time.perf_counter()
        self._seconds: dict[int, float] = {}
        self._episodes: dict[tuple[str, int], PlayedEpisode] = {}
        for row in self._file.rows:
            episode = PlayedEpisode.from_json(row["episode"])
            self._episodes[episode.set, episode.index] = episode
            self._seconds[row["part"]] = row["at_s"]
        self._file.rows.clear()
        self._part = max(self._seconds, default=-1) + 1
        if is_new and before is not None:
            for episode in before.episodes():
                self._add(episode, float(before.content["seconds"]))
            self._part += 1

    @property
    def episodes(self) -> list[PlayedEpisode]:
        """All of them, by set and index, the last one of each question."""
        with self._lock:
            return [self._episodes[key] for key in sorted(self._episodes)]

    @property
    def seconds(self) -> float:
        """Seconds that were played, by each command up to the last episode that it kept."""
        return sum(self._seconds.values())

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
            if not self._closed:
                self._add(episode, time.perf_counter() - self._began)

    def _add(self, episode: PlayedEpisode, at_s: float) -> None:
        self._file.write([{"part": self._part, "at_s": at_s, "episode": episode.to_json()}])
        self._episodes[episode.set, episode.index] = episode
        self._seconds[self._part] = at_s

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._file.close()
