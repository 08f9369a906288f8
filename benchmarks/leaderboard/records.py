"""Records: a folder a row, with `record.json` (figures, settings, where it ran) and `episodes.jsonl.gz` (questions).

Figures are made of the episodes alone, so whoever holds the folder can make them again; `validate_record` does.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.leaderboard.episodes import PlayedEpisode, read_episodes, write_episodes
from benchmarks.leaderboard.errors import RecordError
from benchmarks.leaderboard.slugs import slug_of
from zs_env.errors import ConfigError
from zs_env.files import write_text

__all__ = [
    "EPISODES",
    "RECORD",
    "SCHEMA",
    "Record",
    "by_set",
    "episodes_sha256",
    "read_record",
    "read_records",
    "write_record",
]

SCHEMA = "zerosearch.leaderboard/1"
RECORD = "record.json"
EPISODES = "episodes.jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record that was read.

    Attributes:
        folder: Where it is.
        content: What `record.json` says.
    """

    folder: Path
    content: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """Its name: that of its folder."""
        return self.folder.name

    @property
    def is_complete(self) -> bool:
        """Whether every question was played; others are shown, and not ranked."""
        return bool(self.content["state"] == "complete")

    def episodes(self) -> list[PlayedEpisode]:
        """Every question.

        Raises:
            RecordError: The file can't be read.
        """
        try:
            return list(read_episodes(self.folder / EPISODES))
        except ConfigError as error:
            raise RecordError(f"The record {self.slug!r}: {error}") from error


def read_record(folder: Path) -> Record:
    """Read a record's folder; the episodes are read when they are asked for.

    Raises:
        RecordError: There is no record, or one of another schema.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(folder)!r} can't be read as a record: {error}.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise RecordError(f"{str(path)!r} is no record of the schema {SCHEMA!r}: it says {found!r}. Run it again.")
    return Record(folder=folder, content=content)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no JSON")


def read_records(root: Path) -> list[Record]:
    """All records below a folder, by slug. A folder without `record.json` (a run that goes on) is passed over.

    Raises:
        RecordError: One can't be read.
    """
    folders = sorted(path.parent for path in root.glob(f"*/{RECORD}")) if root.is_dir() else []
    return [read_record(folder) for folder in folders]


def write_record(root: Path, content: Mapping[str, Any], episodes: Iterable[PlayedEpisode]) -> Record:
    """Write a record into `root/<slug>`; what else stands in that folder is left alone.

    Args:
        root: Where records are.
        content: The record, but for `schema` and `episodes`, which are filled in.
        episodes: Every question that was played, in any order.
    """
    folder = root / slug_of(content)
    places = {each["name"]: place for place, each in enumerate(content["sets"])}
    ordered = sorted(episodes, key=lambda episode: (places[episode.set], episode.index))
    write_episodes(folder / EPISODES, ordered)
    held = {"file": EPISODES, "n": len(ordered), "sha256": episodes_sha256(folder / EPISODES)}
    whole = (
        {"schema": SCHEMA} | {name: value for name, value in content.items() if name != "schema"} | {"episodes": held}
    )
    write_text(folder / RECORD, json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return Record(folder=folder, content=whole)


def episodes_sha256(path: Path) -> str:
    """The hash of a packed file's text: the same however it was packed.

    Raises:
        RecordError: It can't be read.
    """
    try:
        with gzip.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError) as error:
        raise RecordError(f"{path.name} can't be read: {error}.") from error


def by_set(content: Mapping[str, Any], episodes: Sequence[PlayedEpisode]) -> dict[str, list[PlayedEpisode]]:
    """The episodes of each of a record's sets, in the record's order; sets of which none was played are empty."""
    sets: dict[str, list[PlayedEpisode]] = {each["name"]: [] for each in content["sets"]}
    for episode in episodes:
        if episode.set not in sets:
            raise RecordError(
                f"An episode is of the set {episode.set!r}, which the record doesn't have: {', '.join(sets)}."
            )
        sets[episode.set].append(episode)
    return sets
