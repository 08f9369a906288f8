"""Records into the board's folder: each is checked against its own episodes first, and copied whole."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.leaderboard.errors import RecordError
from benchmarks.leaderboard.places import RECORDS
from benchmarks.leaderboard.prices import costs_of_record
from benchmarks.leaderboard.records import EPISODES, RECORD
from benchmarks.leaderboard.validating import validate_record
from zs_env.errors import ConfigError
from zs_env.files import write_folder

__all__ = ["check_records", "find_records", "submit", "wrong_with"]

_FILES = (RECORD, EPISODES)
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
        RecordError: There is no record, one isn't what it says, or another of its name is there.
    """
    records = check_records(folders)
    others = [] if replace else [record for record in records if _is_other(record, to / record.name)]
    if others:
        raise RecordError(
            f"Nothing was copied: {to.name!r} has records of the same name and other content: "
            f"{', '.join(record.name for record in others)}. A repetition of an evaluation changes nothing but times: "
            "leave it, or give --replace to take the place of what is there."
        )
    return [(to / record.name, _copy(record, to / record.name)) for record in records]


def check_records(folders: Sequence[Path]) -> list[Path]:
    """The records in some folders, each found to be what it says.

    Raises:
        RecordError: There is none, or one isn't; the message holds all that is wrong.
    """
    records = list(dict.fromkeys(record for folder in folders for record in find_records(folder)))
    refused = [why for record in records for why in wrong_with(record)]
    if refused:
        raise RecordError("Nothing was copied, for this is wrong:\n  " + "\n  ".join(refused))
    return records


def find_records(folder: Path) -> list[Path]:
    """The records in a folder: itself, or those right under it, by name.

    Raises:
        RecordError: There is none.
    """
    if (folder / RECORD).is_file():
        return [folder.resolve()]
    found = sorted(path.parent.resolve() for path in folder.glob(f"*/{RECORD}"))
    if not found:
        raise RecordError(
            f"{str(folder)!r} holds no record: give a folder with a {RECORD}, or one that holds such folders, as "
            "`python -m benchmarks leaderboard run` makes them."
        )
    return found


def wrong_with(record: Path) -> list[str]:
    """What is wrong with a record, a line each; empty if nothing is."""
    try:
        return [f"{record.name}: {why}" for why in validate_record(record, costs_of=costs_of_record)]
    except ConfigError as error:
        return [f"{record.name}: {error}"]


def _is_other(record: Path, there: Path) -> bool:
    return there.exists() and there.resolve() != record and not _equal(record, there)


def _equal(first: Path, second: Path) -> bool:
    return all(
        (second / name).is_file() and (first / name).read_bytes() == (second / name).read_bytes() for name in _FILES
    )


def _copy(record: Path, target: Path) -> str:
    if target.exists() and (target.resolve() == record or _equal(record, target)):
        return "there already"
    told = "replaced" if target.exists() else "new"

    def write(folder: Path) -> None:
        for name in _FILES:
            shutil.copyfile(record / name, folder / name)

    write_folder(target, write)
    return told
