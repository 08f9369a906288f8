"""Writing a preparation's files: a file a split, what was removed, and the columns that they have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import require
from zs_env.files import hash_file
from zs_env.questions.prepare.cleaning import Removed
from zs_env.questions.prepare.reading import Item, Malformed
from zs_env.questions.prepare.settings import FLAGS
from zs_env.questions.source import QuestionList
from zs_env.types import Question

__all__ = ["CARD", "REMOVED", "Table", "write_removed"]

CARD = "README.md"
REMOVED = "removed.jsonl"

_TYPES = {bool: "bool", int: "int64", float: "float64", str: "string"}
_INT64 = range(-(2**63), 2**63)
_FIXED = {
    "id": "string",
    "question": "string",
    "golden_answers": "list",
    "split": "string",
    "data_source": "string",
    "hops": "int64",
    "source": "string",
    "source_id": "string",
    **dict.fromkeys(FLAGS, "bool"),
}


class Table:
    """The rows of all splits, with the same columns of the same types, null where a row has no such value.

    A column that sources fill with values of different types becomes text.

    Args:
        splits: The questions of each split, in order.
    """

    def __init__(self, splits: Mapping[str, Sequence[Item]]) -> None:
        self.splits = splits
        found: dict[str, set[str]] = {}
        for items in splits.values():
            for item in items:
                for name, value in item.metadata.items():
                    if name not in _FIXED:
                        found.setdefault(name, set()).add(_type(value))
        self.columns = _FIXED | {name: _common(types) for name, types in sorted(found.items())}

    def row(self, item: Item, split: str) -> dict[str, Any]:
        """One question as a row."""
        row: dict[str, Any] = {
            "id": item.id,
            "question": item.question,
            "golden_answers": list(item.answers),
            "split": split,
            "data_source": item.data_source,
            "hops": item.hops,
            "source": item.source,
            "source_id": item.own_id,
            **{flag: flag in item.flags for flag in FLAGS},
        }
        for name, type_ in self.columns.items():
            if name not in _FIXED:
                row[name] = _cast(item.metadata.get(name), type_)
        return row

    def write(self, folder: Path, split: str, file_format: str) -> dict[str, Any]:
        """Write a split's file.

        Returns:
            What records say of it: the file's name and hash, how many questions it has, and their fingerprint, which is
            the one that `load_questions` gives.
        """
        path = folder / f"{split}.{file_format}"
        rows = [self.row(item, split) for item in self.splits[split]]
        if file_format == "parquet":
            self._write_parquet(path, rows)
        else:
            with path.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        questions = [
            Question(id=item.id, question=item.question, golden_answers=item.answers) for item in self.splits[split]
        ]
        return {
            "file": path.name,
            "questions": len(questions),
            "fingerprint": QuestionList(questions, name=path.name).fingerprint,
            "sha256": hash_file(path),
        }

    def _write_parquet(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        needed = {"needed_for": "writing parquet files", "install": "pip install pyarrow"}
        arrow, parquet = require("pyarrow", **needed), require("pyarrow.parquet", **needed)
        types = {
            "bool": arrow.bool_(),
            "int64": arrow.int64(),
            "float64": arrow.float64(),
            "string": arrow.string(),
            "list": arrow.list_(arrow.string()),
        }
        schema = arrow.schema([(name, types[type_]) for name, type_ in self.columns.items()])
        parquet.write_table(arrow.Table.from_pylist(list(rows), schema=schema), path)


def _type(value: Any) -> str:
    return "string" if type(value) is int and value not in _INT64 else _TYPES[type(value)]


def _common(types: set[str]) -> str:
    if len(types) == 1:
        return next(iter(types))
    return "float64" if types == {"int64", "float64"} else "string"


def _cast(value: Any, type_: str) -> Any:
    if value is None:
        return None
    if type_ == "string":
        return value if isinstance(value, str) else json.dumps(value)
    return float(value) if type_ == "float64" else value


def write_removed(folder: Path, removed: Iterable[Removed], malformed: Iterable[Malformed]) -> None:
    """Write what was taken out, a line each, with why and what it repeats."""
    with (folder / REMOVED).open("w", encoding="utf-8", newline="\n") as file:
        for one in removed:
            row: dict[str, Any] = {"why": one.why, **_named(one.item)}
            if one.other is not None:
                row |= {"likeness": one.likeness, "repeats": _named(one.other)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        for broken in malformed:
            told = {"why": "malformed", "kind": broken.kind, "source": broken.source, "row": broken.row}
            file.write(json.dumps({**told, "message": broken.message}, ensure_ascii=False) + "\n")


def _named(item: Item) -> dict[str, Any]:
    return {
        "id": item.id or item.own_id,
        "question": item.question,
        "golden_answers": list(item.answers),
        "data_source": item.data_source,
        "source": item.source,
        "row": item.row,
        "split": item.split,
    }
