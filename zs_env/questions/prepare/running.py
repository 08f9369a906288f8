"""The whole preparation: read, check, clean, divide, write."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError, QuestionError
from zs_env.files import write_folder, write_json, write_text
from zs_env.questions.prepare.card import data_card
from zs_env.questions.prepare.checking import flag, give_ids
from zs_env.questions.prepare.cleaning import Cleaned, clean
from zs_env.questions.prepare.earlier import PREPARED, SCHEMA, find_earlier
from zs_env.questions.prepare.reading import Access, Item, Malformed, Reading, read_source
from zs_env.questions.prepare.settings import PrepareSettings, Source, check_split_name
from zs_env.questions.prepare.splitting import divide
from zs_env.questions.prepare.writing import CARD, Table, write_removed

__all__ = ["Prepared", "prepare"]

_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A preparation that is there.

    Attributes:
        folder: Where.
        record: What its `prepared.json` says.
        is_new: Whether it was made just now.
        notes: What couldn't be made sure of it.
    """

    folder: Path
    record: Mapping[str, Any]
    is_new: bool
    notes: tuple[str, ...] = ()


def prepare(
    settings: PrepareSettings,
    out: str | Path,
    *,
    access: Access | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Prepared:
    """Prepare questions into a folder, which appears whole or not at all.

    A folder that holds the same preparation is left as it is.

    Args:
        settings: What is prepared, and how.
        out: The folder.
        access: How the hub is asked.
        force: Whether another preparation in that folder is replaced.
        tell: Is told how far it is.

    Raises:
        ConfigError: A source isn't there or can't be reached, or the folder holds something else.
        QuestionError: A source can't be read, or no question is left.
    """
    access, out = access or Access(), Path(out).expanduser()
    earlier = find_earlier(out, settings, access, force=force)
    if earlier is not None:
        return Prepared(folder=out, record=earlier.record, is_new=False, notes=earlier.notes)
    sources = [_read(source, settings.limit, settings, access, tell) for source in settings.sources]
    against = [_read(source, None, settings, access, tell) for source in settings.against]
    items = [item for reading in sources for item in reading.items]
    if not items:
        raise QuestionError(
            "The sources hold no question that can be read. `--strict` shows what is wrong with the first."
        )
    clashes = give_ids(items)
    flags = flag(items, settings)
    cleaned = clean(items, [item for reading in against for item in reading.items], settings, tell)
    splits = _splits(cleaned, settings)
    if not splits:
        raise QuestionError(f"No question is left: {dict(cleaned.counts)}. Take out less, or read more.")
    malformed = [row for reading in sources for row in reading.malformed]
    record = _record(settings, sources, against, cleaned, flags, clashes, malformed)
    try:
        write_folder(out, lambda folder: _write(folder, settings, record, cleaned, splits, malformed, out.name))
    except OSError as error:
        raise ConfigError(f"{out} can't be written: {error}. Nothing was; name another --out.") from error
    return Prepared(folder=out, record=record, is_new=True)


def _read(
    source: Source, limit: int | None, settings: PrepareSettings, access: Access, tell: Callable[[str], None]
) -> Reading:
    reading = read_source(source, access, limit=limit, strict=settings.strict)
    broken = f", {len(reading.malformed):,} malformed" if reading.malformed else ""
    tell(f"{source.name}{f' ({source.split})' if source.split else ''}: {len(reading.items):,} questions{broken}")
    return reading


def _splits(cleaned: Cleaned, settings: PrepareSettings) -> dict[str, list[Item]]:
    """The questions of each split, ours first, in the order that they came."""
    named = divide(cleaned.free, cleaned.groups, settings.split_shares, settings.seed)
    splits: dict[str, list[Item]] = {name: [] for name in settings.split_shares or ()}
    for item, name in zip(cleaned.free, named, strict=True):
        splits.setdefault(name, []).append(item)
    for item in cleaned.held:
        assert item.split is not None
        if item.split not in splits:
            check_split_name(item.split)
        splits.setdefault(item.split, []).append(item)
    return {name: items for name, items in splits.items() if items}


def _record(
    settings: PrepareSettings,
    sources: Sequence[Reading],
    against: Sequence[Reading],
    cleaned: Cleaned,
    flags: Counter[str],
    clashes: int,
    malformed: Sequence[Malformed],
) -> dict[str, Any]:
    counts = {
        "read": sum(len(reading.items) for reading in sources),
        "malformed": len(malformed),
        "id_clashes": clashes,
    }
    shown: dict[str, list[dict[str, Any]]] = {}
    for row in malformed:
        told = shown.setdefault(row.kind, [])
        if len(told) < _EXAMPLES:
            told.append({"source": row.source, "row": row.row, "message": row.message})
    return {
        "schema": SCHEMA,
        "settings": settings.to_json(),
        "sources": [reading.record for reading in sources],
        "against": [reading.record for reading in against],
        "counts": counts | dict(sorted((why, count) for why, count in cleaned.counts.items() if count)),
        "flags": dict(sorted(flags.items())),
        "examples": {"malformed": shown, **cleaned.examples},
        "splits": {},
    }


def _write(
    folder: Path,
    settings: PrepareSettings,
    record: dict[str, Any],
    cleaned: Cleaned,
    splits: Mapping[str, Sequence[Item]],
    malformed: Sequence[Malformed],
    out_name: str,
) -> None:
    table = Table(splits)
    for name, items in splits.items():
        of = Counter(item.data_source for item in items)
        record["splits"][name] = {
            **table.write(folder, name, settings.file_format),
            "data_sources": dict(sorted(of.items())),
        }
    write_removed(folder, cleaned.removed, malformed)
    examples = {name: [table.row(item, name) for item in items[:_EXAMPLES]] for name, items in splits.items()}
    write_text(folder / CARD, data_card(settings, record, table.columns, examples, out_name))
    write_json(folder / PREPARED, json.loads(json.dumps(record)))
