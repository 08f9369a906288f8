"""Reading question files: jsonl, json, csv, tsv and parquet, row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zs_env.errors import ConfigError, QuestionError, require
from zs_env.questions.rows import as_questions, is_used
from zs_env.types import Question

__all__ = ["FORMATS", "read_questions", "read_rows"]

Rows = Iterator[tuple[int, Any]]
"""Rows with their numbers, an error in the place of one that can't be read though others can."""

_BATCH_ROWS = 4_096


class Format(NamedTuple):
    """How a kind of file is read, what its rows are called, and whether its cells may hold JSON lists."""

    read: Callable[[Path], Rows]
    unit: str = "row"
    json_cells: bool = False


def read_questions(path: Path) -> Iterator[Question]:
    """Read a file's questions.

    Raises:
        ConfigError: The file doesn't exist, or its name's ending is unknown.
        QuestionError: The file, or a row of it, is malformed; the message names both and the rule.
    """
    read, unit, json_cells = _format_of(path)
    num_read = 0
    for question in as_questions(read(path), where=str(path), stem=path.stem, unit=unit, json_cells=json_cells):
        num_read += 1
        yield question
    if not num_read:
        raise QuestionError(f"{path} holds no questions. Give a file with at least one.")


def read_rows(path: Path) -> tuple[Rows, Format]:
    """A file's rows as they are, for callers that go on after a row that can't be read.

    Returns:
        The rows, each with its number, an error in the place of one that can't be read; and how the file is read. What
        is wrong with a file as a whole is raised when its rows are asked for.

    Raises:
        ConfigError: The file doesn't exist, or its name's ending is unknown.
    """
    file_format = _format_of(path)
    return file_format.read(path), file_format


def _format_of(path: Path) -> Format:
    file_format = FORMATS.get(path.suffix.casefold())
    if file_format is None:
        raise ConfigError(f"Can't tell from its name how to read {path}: known endings are {', '.join(FORMATS)}.")
    if not path.is_file():
        raise ConfigError(f"There is no file {path} (looked for it from {Path.cwd()}).")
    return file_format


def _read_jsonl(path: Path) -> Rows:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                text = _decode(line, where)
                row = _parse(text, where, "Each line must be one JSON object.") if text.strip() else None
            except QuestionError as error:
                yield number, error
                continue
            if text.strip():
                yield number, row


def _read_json(path: Path) -> Rows:
    rule = "The file must hold a list of objects, or an object whose 'data' is one; name it .jsonl if each line is one."
    data = _parse(_decode(path.read_bytes(), str(path)), str(path), rule)
    rows = data.get("data") if isinstance(data, Mapping) else data
    if not isinstance(rows, list):
        found = f"an object with the keys {', '.join(map(repr, data))}" if isinstance(data, Mapping) else repr(data)
        raise QuestionError(f"{path} holds {found:.200}. {rule}")
    yield from enumerate(rows, start=1)


def _read_csv(path: Path) -> Rows:
    return _read_separated(path, ",")


def _read_tsv(path: Path) -> Rows:
    return _read_separated(path, "\t")


def _read_separated(path: Path, delimiter: str) -> Rows:
    with path.open("rb") as lines:
        decoded = (_decode(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1))
        reader = csv.DictReader(decoded, delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                # The row that failed has moved the reader inside, not yet the one around it.
                line = reader.reader.line_num
                raise QuestionError(f"{path}, line {line}: this isn't valid csv: {error}.") from None
            if row is None:
                return
            if None in row:
                yield (
                    reader.line_num,
                    QuestionError(
                        f"{path}, line {reader.line_num}: there are more cells than columns ({reader.fieldnames}). "
                        'Put a cell that holds the delimiter in double quotes: "Lima, Peru".'
                    ),
                )
                continue
            yield reader.line_num, {name: cell or None for name, cell in row.items()}


def _read_parquet(path: Path) -> Rows:
    parquet = require("pyarrow.parquet", needed_for="reading parquet files", install="pip install pyarrow")
    arrow = require("pyarrow", needed_for="reading parquet files", install="pip install pyarrow")
    try:
        with parquet.ParquetFile(path) as file:
            columns = [f.name for f in file.schema_arrow if is_used(f.name, not arrow.types.is_nested(f.type))]
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (arrow.ArrowException, OSError) as error:
        raise QuestionError(f"{path} isn't a readable parquet file: {error}") from error


def _decode(raw: bytes, where: str) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise QuestionError(f"{where}: this is UTF-16. Save the file as UTF-8.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QuestionError(
            f"{where}: byte {error.start + 1} ({raw[error.start : error.start + 1]!r}) isn't UTF-8. "
            "Save the file as UTF-8."
        ) from None


def _parse(text: str, where: str, rule: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise QuestionError(f"{where}: this isn't JSON: {error.msg} at column {error.colno}. {rule}") from None
    except (RecursionError, ValueError) as error:
        raise QuestionError(f"{where}: this JSON can't be read: {error}. {rule}") from None


FORMATS: Mapping[str, Format] = {
    ".jsonl": Format(_read_jsonl, unit="line"),
    ".ndjson": Format(_read_jsonl, unit="line"),
    ".json": Format(_read_json),
    ".csv": Format(_read_csv, unit="line", json_cells=True),
    ".tsv": Format(_read_tsv, unit="line", json_cells=True),
    ".parquet": Format(_read_parquet),
}
"""File name endings and how their files are read."""
