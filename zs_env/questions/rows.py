"""From a row of anybody's data set to a `Question`.

Column names are matched in any case.

- The question is the first of `question`, `query`, `input`, `problem` that isn't null, else the last user turn of a
  `prompt` (what follows its last "Question:", as Search-R1 writes it).
- The golden answers are the first of `golden_answers`, `answers`, `answer`, `ground_truth`, `reward_model` that isn't
  null. They may be a text, a number, a truth value (which becomes "yes" or "no"), a list of these, or an object that
  holds them: `{"text": …}` (SQuAD), `{"ground_truth": {"target": …}}` (Search-R1), `{"value": …, "aliases": …}`
  (TriviaQA).
- Other columns of plain values are kept in the question's metadata.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from zs_env.actions import clean_text
from zs_env.errors import QuestionError
from zs_env.types import Question

__all__ = ["ANSWER_COLUMNS", "QUESTION_COLUMNS", "as_question", "as_questions", "is_used"]

QUESTION_COLUMNS = ("question", "query", "input", "problem", "prompt")
ANSWER_COLUMNS = ("golden_answers", "answers", "answer", "ground_truth", "reward_model")
_ANSWER_KEYS = ("target", "text", "value", "ground_truth", "golden_answers", "answers", "answer")
_RESERVED = frozenset(("id", "metadata", *QUESTION_COLUMNS, *ANSWER_COLUMNS))
_MAX_INTERNED_CHARS = 32
_MAX_DEPTH = 8

_WAY_OUT = (
    "A row needs a question (one of question, query, input, problem) and an answer (one of golden_answers, answers, "
    "answer, ground_truth: a text or a list of texts)."
)


def as_questions(
    rows: Iterable[tuple[int, Mapping[str, Any] | QuestionError]],
    *,
    where: str,
    stem: str,
    unit: str = "row",
    json_cells: bool = False,
) -> Iterator[Question]:
    """Turn numbered rows into questions.

    Args:
        rows: Each row with its number as a person would find it (a line number, where rows are lines); an error in the
            place of a row that can't even be read.
        where: What the rows come from, for messages.
        stem: What ids are made of where rows have none: `<stem>-<number>`.
        unit: What a row is called in messages.
        json_cells: Whether an answer's text may be a JSON list, as in a csv file.

    Raises:
        QuestionError: A row is malformed, or two have the same id.
    """
    seen: dict[str, int] = {}
    for number, row in rows:
        if isinstance(row, QuestionError):
            raise row
        try:
            question = as_question(row, default_id=f"{stem}-{number}", json_cells=json_cells)
        except QuestionError as error:
            raise QuestionError(f"{where}, {unit} {number}: {error}") from None
        first = seen.setdefault(question.id, number)
        if first != number:
            raise QuestionError(
                f"{where}, {unit} {number}: the id {question.id!r} is that of {unit} {first} already. Ids must be "
                "unique, since they group rollouts. Rename one, or leave the column out: then row numbers are used."
            )
        yield question


@lru_cache(maxsize=1_024)
def _column(name: object) -> str:
    return sys.intern(str(name).strip().casefold())


def is_used(column: str, is_plain: bool) -> bool:
    """Whether a column is read: it has a meaning, or its values are plain and are kept in the metadata."""
    return is_plain or _column(column) in _RESERVED


def as_question(row: Mapping[str, Any], *, default_id: str, json_cells: bool = False) -> Question:
    """Turn one row into a question.

    Args:
        row: The row.
        default_id: Its id, if it has none.
        json_cells: Whether an answer's text may be a JSON list, as in a csv file.

    Raises:
        QuestionError: The row is malformed; the message doesn't say where it is.
    """
    if not isinstance(row, Mapping):
        raise QuestionError(f"this is {type(row).__name__}, not an object with columns: {row!r:.80}. {_WAY_OUT}")
    columns = {_column(name): value for name, value in row.items() if name is not None}
    identifier = columns.get("id")
    metadata = dict(columns["metadata"]) if isinstance(columns.get("metadata"), Mapping) else {}
    for name, value in columns.items():
        if name not in _RESERVED and _is_plain(value):
            metadata[name] = _share(value)
    return Question(
        id=default_id if _is_missing(identifier) or identifier == "" else clean_text(str(identifier)),
        question=_find_question(columns),
        golden_answers=_find_answers(columns, json_cells),
        metadata=metadata,
    )


def _find_question(columns: Mapping[str, Any]) -> str:
    present = [name for name in QUESTION_COLUMNS if not _is_missing(columns.get(name))]
    if not present:
        raise QuestionError(f"there is no question. {_columns_found(columns)} {_WAY_OUT}")
    name = present[0]
    value = columns[name]
    if name == "prompt" and not isinstance(value, str):
        value = _last_user_turn(value)
    if not isinstance(value, str):
        raise QuestionError(
            f"the question in column {name!r} must be a text; it is {type(value).__name__}: {value!r:.80}."
        )
    if name == "prompt":
        value = value.rpartition("Question:")[2]
    text = clean_text(value).strip()
    if not text:
        raise QuestionError(f"the question in column {name!r} is empty. Fill it in, or remove the row.")
    return text


def _last_user_turn(turns: Any) -> Any:
    """The content of a chat's last user message."""
    if isinstance(turns, Sequence):
        for turn in reversed(turns):
            if isinstance(turn, Mapping) and turn.get("role", "user") == "user":
                return turn.get("content")
    return turns


def _find_answers(columns: Mapping[str, Any], json_cells: bool) -> tuple[str, ...]:
    for name in ANSWER_COLUMNS:
        value = columns.get(name)
        if _is_missing(value):
            continue
        if json_cells and isinstance(value, str) and value.strip()[:1] == "[" and value.strip()[-1:] == "]":
            value = _parse_list(value, name)
        answers = tuple(dict.fromkeys(_flatten(value, name)))
        if not answers:
            raise QuestionError(f"there is no answer in column {name!r}: {value!r:.80}. Give one, or remove the row.")
        return answers
    raise QuestionError(f"there is no answer. {_columns_found(columns)} {_WAY_OUT}")


def _parse_list(cell: str, name: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise QuestionError(
            f"the answer in column {name!r} looks like a list but isn't JSON: {cell!r:.80}. "
            'Write ["one", "two"], in double quotes (json.dumps does).'
        ) from None


def _flatten(value: Any, name: str, depth: int = 0) -> Iterator[str]:
    """Every answer in a value, as a text."""
    if depth > _MAX_DEPTH:
        raise QuestionError(
            f"the answer in column {name!r} is nested more than {_MAX_DEPTH} levels deep. Give a flat list."
        )
    if isinstance(value, str):
        text = clean_text(value).strip()
        if not text:
            raise QuestionError(f"an answer in column {name!r} is empty: {value!r}. Remove it, or the row.")
        yield text
    elif isinstance(value, bool):
        yield "yes" if value else "no"
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, float) and math.isfinite(value):
        yield str(int(value)) if value.is_integer() else str(value)
    elif isinstance(value, Mapping):
        inner = [key for key in _ANSWER_KEYS if not _is_missing(value.get(key))]
        if not inner:
            keys = ", ".join(_ANSWER_KEYS)
            raise QuestionError(f"the answer in column {name!r} is an object with none of {keys}: {value!r:.80}.")
        yield from _flatten(value[inner[0]], name, depth + 1)
        yield from _flatten(value.get("aliases") or (), name, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        for item in value:
            yield from _flatten(item, name, depth + 1)
    else:
        shown = "missing (null or NaN)" if _is_missing(value) else f"{type(value).__name__}: {value!r:.80}"
        raise QuestionError(
            f"an answer in column {name!r} must be a text or a number; it is {shown}. Fix or remove it."
        )


def _columns_found(columns: Mapping[str, Any]) -> str:
    found = ", ".join(repr(name) + (" (empty)" if _is_missing(value) else "") for name, value in columns.items())
    return f"Columns found: {found or 'none'}."


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))


def _share(value: Any) -> Any:
    """One object for equal short texts: hundreds of thousands of rows say "nq"."""
    if isinstance(value, str):
        value = clean_text(value)
        return sys.intern(value) if len(value) <= _MAX_INTERNED_CHARS else value
    return value
