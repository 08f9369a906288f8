"""Records into the board's folder: each is checked against its own episodes first, and copied whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.leaderboard.places import RECORDS
from benchmarks.leaderboard.records import validate_record
from zs_env.errors import ConfigError
from zs_env.files import write_folder

__all__ = ["FILES", "find_records", "submit"]

FILES = ("record.json", "episodes.jsonl.gz")
"""What a record is; nothing else that lies in its folder is copied."""


def submit(folders: Sequence[Path], to: Path = RECORDS, *, replace: bool = False) -> list[tuple[Path, str]]:
    """Check records, then copy them; none is copied if one of them is refused.

    Args:
        folders: Records, or folders that hold some.
        to: The board's folder.
        replace: Whether a record that is there may be taken the place of.

    Returns:
        Each record's new folder, and what to tell of it: "new", "replaced" or "there already".

    Raises:
        ConfigError: There is no record, one isn't what it says, or another of its name is there.
    """
    records = [record for folder in folders for record in find_records(folder)]
    refused = []
    for record in records:
        refused += [f"{record.name}: {why}" for why in validate_record(record)]
        there = to / record.name
        if not refused and not replace and there.exists() and not _equal(record, there):
            refused.append(
                f"{record.name}: {to.name} holds another record of this name. A repetition changes nothing but times: "
                "leave it, or give --replace to take its place."
            )
    if refused:
        raise ConfigError("Nothing was copied:\n  " + "\n  ".join(refused))
    return [(to / record.name, _copy(record, to / record.name)) for record in records]


def find_records(folder: Path) -> list[Path]:
    """The records in a folder: itself, or those right under it, by name.

    Raises:
        ConfigError: There is none.
    """
    if (folder / "record.json").is_file():
        return [folder.resolve()]
    found = sorted(path.parent.resolve() for path in folder.glob("*/record.json") if not path.parent.name[0] == ".")
    if not found:
        raise ConfigError(
            f"{str(folder)!r} holds no record: give a folder with a record.json, or one that holds such folders, as "
            "`leaderboard run` makes them."
        )
    return found


def read_state(folder: Path) -> dict[str, Any]:
    """A record's own words, unchecked.

    Raises:
        ConfigError: It can't be read.
    """
    try:
        found = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder.name}/record.json can't be read: {error}.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{folder.name}/record.json is no record: it holds {found!r:.100}.")
    return found


def _equal(first: Path, second: Path) -> bool:
    return all(
        (second / name).is_file() and (first / name).read_bytes() == (second / name).read_bytes() for name in FILES
    )


def _copy(record: Path, target: Path) -> str:
    if target.exists() and (target.resolve() == record or _equal(record, target)):
        return "there already"
    told = "replaced" if target.exists() else "new"

    def write(folder: Path) -> None:
        for name in FILES:
            shutil.copyfile(record / name, folder / name)

    write_folder(target, write)
    return told
