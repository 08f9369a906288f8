"""What an earlier run left in the folder: the same preparation, another one, or something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.files import hash_file
from zs_env.questions.hub import find_commit
from zs_env.questions.hub_errors import HubUnreachableError
from zs_env.questions.prepare.reading import Access
from zs_env.questions.prepare.settings import PrepareSettings, Source
from zs_env.questions.prepare.writing import CARD, REMOVED

__all__ = ["PREPARED", "SCHEMA", "Earlier", "find_earlier"]

PREPARED = "prepared.json"
SCHEMA = "zerosearch.prepared/1"
_NEEDED = frozenset(("settings", "sources", "against", "splits"))


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The same preparation, made before.

    Attributes:
        record: What its `prepared.json` says.
        notes: What couldn't be made sure of it.
    """

    record: Mapping[str, Any]
    notes: tuple[str, ...]


def find_earlier(out: Path, settings: PrepareSettings, access: Access, *, force: bool) -> Earlier | None:
    """Look at the folder that a preparation is to go to.

    Returns:
        The same preparation if it is there whole and its sources haven't changed; None if there is nothing, or another
        preparation that is to be replaced.

    Raises:
        ConfigError: There is something else, and what to do about it.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    record = _read(out)
    if force:
        _check_only_ours(out, record)
        return None
    again = "Prepare into another folder, or replace it with --force."
    asked = settings.to_json()
    differs = [name for name in asked if record.get("settings", {}).get(name) != asked[name]]
    if differs:
        told = "; ".join(f"{name} {record.get('settings', {}).get(name)!r}, now {asked[name]!r}" for name in differs)
        raise ConfigError(f"{out} holds a preparation of other settings: {told:.600}. {again}")
    notes = []
    pairs = [
        *zip(settings.sources, record["sources"], strict=True),
        *zip(settings.against, record["against"], strict=True),
    ]
    for source, told in pairs:
        note = _compare(source, told, access, out)
        if note:
            notes.append(note)
    for split in record["splits"].values():
        path = out / split["file"]
        if not path.is_file() or hash_file(path) != split["sha256"]:
            raise ConfigError(f"{path} isn't as it was written: it was changed or lost since. {again}")
    return Earlier(record=record, notes=tuple(notes))


def _read(out: Path) -> dict[str, Any]:
    try:
        record = json.loads((out / PREPARED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if (
        not isinstance(record, dict)
        or record.get("schema") != SCHEMA
        or not {"sources", "against", "splits"} <= set(record)
    ):
        raise ConfigError(
            f"{out} is there already and holds no preparation ({PREPARED} of {SCHEMA}): nothing in it is touched. Name "
            "a folder that is empty or doesn't exist."
        )
    return record


def _check_only_ours(out: Path, record: Mapping[str, Any]) -> None:
    """Refuse to replace a folder that somebody put something of theirs into."""
    ours = {PREPARED, REMOVED, CARD, *(split["file"] for split in record["splits"].values())}
    others = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if others:
        raise ConfigError(
            f"{out} isn't replaced: it also holds {', '.join(others[:5])}, which no preparation wrote. Move that away, "
            "or prepare into another folder."
        )


def _compare(source: Source, told: Mapping[str, Any], access: Access, out: Path) -> str | None:
    """Refuse a source that has changed; say it if that can't be known."""
    place = source.hub
    if place is None:
        path = Path(source.place).expanduser()
        if not path.is_file():
            return f"{source.name} isn't there any more, so whether it has changed isn't known."
        if hash_file(path) != told["sha256"]:
            raise ConfigError(
                f"{source.name} has changed since {out} was prepared from it. Prepare into another folder, or replace "
                "it with --force."
            )
        return None
    if place.revision is not None and place.revision == told["commit"]:
        return None  # a commit never changes
    try:
        commit = find_commit(place, token=access.token, timeout_s=access.timeout_s)
    except HubUnreachableError as error:
        return f"whether {place} has changed isn't known: {error}"
    if commit != told["commit"]:
        way = (
            f"To stay with the old one, ask for it: {str(place).partition('@')[0]}@{told['commit']}"
            if told["commit"] and place.folder is None
            else "Prepare into another folder"
        )
        raise ConfigError(
            f"{place} has changed since {out} was prepared from it: it was at {told['commit']}, and is at {commit} "
            f"now. {way}; to take the new one, replace it with --force."
        )
    return None
