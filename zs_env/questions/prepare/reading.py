"""Reading sources row by row: what is malformed is set aside with its reason, and the rest goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from zs_env.actions import clean_text
from zs_env.errors import ConfigError, QuestionError
from zs_env.files import hash_file
from zs_env.questions.files import read_rows
from zs_env.questions.hub import HubData, open_hub
from zs_env.questions.prepare.presets import HOPS
from zs_env.questions.prepare.settings import Source
from zs_env.questions.rows import as_question
from zs_env.questions.source import fingerprint
from zs_env.types import Question

__all__ = ["Access", "Item", "Malformed", "Reading", "read_source"]

_MAX_PLAIN_CHARS = 200
_KINDS = (
    ("there is no question", "no question"),
    ("question in column", "bad question"),
    ("there is no answer", "no answer"),
    ("an answer in column", "bad answer"),
    ("the answer in column", "bad answer"),
    ("isn't JSON", "not JSON"),
    ("can't be read", "not JSON"),
    ("UTF-", "not UTF-8"),
    ("more cells", "more cells than columns"),
    ("not an object", "not an object"),
)


@dataclass(frozen=True, kw_only=True)
class Access:
    """How the hub is asked; it changes nothing of what is read.

    Attributes:
        token: A token that may read what is asked for; None leaves it to huggingface_hub.
        streaming: Whether rows are read as they come, without a copy of the data set on this machine.
        timeout_s: How long the hub may stay silent.
    """

    token: str | None = field(default=None, repr=False)
    streaming: bool = True
    timeout_s: float = 30.0


@dataclass(slots=True)
class Item:
    """A question on its way: what it is, and where it came from.

    Attributes:
        question: The question's text.
        answers: Its golden answers.
        own_id: The id that its row has, if it has one.
        data_source: What its data set is called.
        source: The place and split that it was read from.
        row: Its number there.
        split: The split that it is given; None if its source says none.
        hops: How many facts it asks to be joined, where that is known.
        metadata: What else its row says, of plain values.
        flags: Which of the checks it is marked by.
        id: Its id in the output.
    """

    question: str
    answers: tuple[str, ...]
    own_id: str | None
    data_source: str
    source: str
    row: int
    split: str | None
    hops: int | None
    metadata: dict[str, Any]
    flags: frozenset[str] = frozenset()
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """A row that can't be read: where, why in a word, and the whole message."""

    source: str
    row: int
    kind: str
    message: str


@dataclass(kw_only=True)
class Reading:
    """What a source held.

    Attributes:
        source: Which source.
        items: Its questions, in order.
        malformed: What couldn't be read.
        record: What records say of it: its name, commit or hash, licence, counts and the fingerprint of its questions.
    """

    source: Source
    items: list[Item]
    malformed: list[Malformed]
    record: dict[str, Any]


def read_source(source: Source, access: Access, *, limit: int | None = None, strict: bool = False) -> Reading:
    """Read a source.

    Args:
        source: Which one.
        access: How the hub is asked.
        limit: How many rows are read; None for all.
        strict: Whether a malformed row is an error.

    Raises:
        ConfigError: There is no such source, configuration or split, or it can't be reached.
        QuestionError: It can't be read as a whole, or a row is malformed and that is to be an error.
    """
    place = source.hub
    if place is None:
        return _read_file(source, limit, strict)
    data = open_hub(place, token=access.token, timeout_s=access.timeout_s, cached=not access.streaming)
    splits = (source.split,) if source.split else data.splits
    if not splits:
        raise ConfigError(f"{place} has no splits.")
    for split in splits:
        data.check_split(split)
    reading = Reading(source=source, items=[], malformed=[], record={})
    for split in splits:
        rows = _hub_rows(data, split, access)
        name = f"{place} ({split})"
        _take(reading, islice(enumerate(rows, start=1), limit), name=name, unit="row", given=split, strict=strict)
    config = place.config or (place.folder.name if place.folder else place.identifier.rpartition("/")[2])
    return _finish(reading, config, {"commit": data.commit, "licence": data.licence, "splits": list(splits)})


def _hub_rows(data: HubData, split: str, access: Access) -> Iterator[dict[str, Any]]:
    return data.rows(split, streaming=access.streaming, token=access.token, timeout_s=access.timeout_s)


def _read_file(source: Source, limit: int | None, strict: bool) -> Reading:
    path = Path(source.place).expanduser()
    if not path.exists() and not path.suffix:
        raise ConfigError(
            f"Unknown source {source.place!r}: there is no such file or folder. Sources are files, folders shaped like "
            "a data set of the hub, hf:<id>, zerosearch, flashrag, and flashrag:<set>."
        )
    rows, file_format = read_rows(path)
    digest = hash_file(path)
    reading = Reading(source=source, items=[], malformed=[], record={})
    _take(
        reading,
        islice(rows, limit),
        name=source.name,
        unit=file_format.unit,
        json_cells=file_format.json_cells,
        wanted=source.split,
        strict=strict,
    )
    if source.split is not None and not reading.items:
        raise ConfigError(
            f"{source.name} has no questions whose column 'split' says {source.split!r}. To give the questions of a "
            f"file a split, write --into {source.split} instead of --split {source.split}."
        )
    return _finish(reading, path.stem, {"sha256": digest})


def _take(
    reading: Reading,
    rows: Iterator[tuple[int, Any]],
    *,
    name: str,
    unit: str,
    strict: bool,
    given: str | None = None,
    wanted: str | None = None,
    json_cells: bool = False,
) -> None:
    for number, row in rows:
        try:
            if isinstance(row, QuestionError):
                raise row
            question = as_question(row, default_id="-", json_cells=json_cells)
        except QuestionError as error:
            if strict:
                where = "" if f"{unit} {number}" in str(error) else f"{name}, {unit} {number}: "
                raise QuestionError(f"{where}{error} Without --strict, such rows are set aside and counted.") from None
            reading.malformed.append(
                Malformed(source=name, row=number, kind=_kind(str(error)), message=_short(error, reading.source))
            )
            continue
        item = _as_item(question, name, number, reading.source, given)
        if wanted is None or item.split == wanted:
            item.split = reading.source.into or item.split
            reading.items.append(item)


def _as_item(question: Question, name: str, number: int, source: Source, given: str | None) -> Item:
    metadata = {
        clean_text(str(key)): clean_text(value) if isinstance(value, str) else value
        for key, value in question.metadata.items()
        if _is_short(value)
    }
    split = metadata.pop("split", None)
    data_source = str(metadata.pop("data_source", "") or source.data_source or "")
    own_id = None if question.id == "-" else question.id
    return Item(
        question=question.question,
        answers=question.golden_answers,
        own_id=own_id,
        data_source=data_source,
        source=name,
        row=number,
        split=given or (str(split) if split is not None else None),
        hops=_hops(metadata, own_id, data_source),
        metadata=metadata,
    )


def _is_short(value: Any) -> bool:
    """Whether a value is kept: plain, and no text that belongs to documents, as FlashRAG's `metadata` holds them."""
    if isinstance(value, str):
        return len(value) <= _MAX_PLAIN_CHARS
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _hops(metadata: dict[str, Any], own_id: str | None, data_source: str) -> int | None:
    """How many facts a question joins: what its row says, its id (MuSiQue's), its type (2WikiMultihopQA's), its set."""
    for name in ("hops", "num_hops"):
        told = metadata.pop(name, None)
        if isinstance(told, (int, float, str)) and str(told).strip().isdigit():
            return int(told)
    head = (own_id or "")[:5].casefold()
    if head[:1].isdigit() and head[1:4] == "hop":
        return int(head[0])
    if data_source == "2wikimultihopqa" and metadata.get("type") == "bridge_comparison":
        return 4
    return HOPS.get(data_source)


def _finish(reading: Reading, name: str, more: Mapping[str, Any]) -> Reading:
    for item in reading.items:
        item.data_source = item.data_source or name
        if item.hops is None:
            item.hops = HOPS.get(item.data_source)
    counts: dict[str, int] = {}
    for row in reading.malformed:
        counts[row.kind] = counts.get(row.kind, 0) + 1
    asked = reading.source
    plain = [
        Question(id=str(at), question=item.question, golden_answers=item.answers)
        for at, item in enumerate(reading.items)
    ]
    reading.record = {
        "place": asked.name,
        "split": asked.split,
        **more,
        "questions": len(reading.items),
        "malformed": dict(sorted(counts.items())),
        "fingerprint": fingerprint(plain),
    }
    return reading


def _kind(message: str) -> str:
    return next((kind for told, kind in _KINDS if told in message), "other")


def _short(error: Exception, source: Source) -> str:
    """A message without where the file lies on this machine."""
    return " ".join(str(error).replace(str(Path(source.place).expanduser()), source.name).split())[:300]
