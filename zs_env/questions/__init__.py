"""Where questions come from: the built-in atlas, local files, hub data sets, or rows in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError, QuestionError
from zs_env.questions.atlas import SPLITS, Atlas, Entity, Fact, World, load_atlas
from zs_env.questions.files import FORMATS, read_questions
from zs_env.questions.hub import PREFIX, HubPlace, open_hub
from zs_env.questions.rows import as_questions
from zs_env.questions.source import QuestionList
from zs_env.types import Question, QuestionSource

__all__ = ["Atlas", "Entity", "Fact", "QuestionList", "World", "load_atlas", "load_questions"]


def load_questions(
    source: str | PathLike[str] | QuestionSource | Sequence[Question | Mapping[str, Any]], split: str | None = None
) -> QuestionSource:
    """Load questions from wherever they are.

    Args:
        source: One of

            - `"atlas"`: the built-in questions about the world; they need a `split`;
            - a path to a jsonl, json, csv, tsv or parquet file; `zs_env.questions.rows` says how columns are read;
            - `"hf:<id>"`, `"hf:<id>:<config>"`, either with `@<revision>` behind: a data set of the Hugging Face hub,
              or a folder shaped like one, through `datasets`;
            - a `QuestionSource`, returned as it is;
            - a sequence of `Question`s or of rows like a file's.
        split: Which part. Of a file or a sequence of rows, those whose column `split` says so.

    Raises:
        ConfigError: There is no such source or no such split; the message says what there is.
        QuestionError: A file or a row is malformed; the message says which and why.
        MissingPackageError: The source needs a package that isn't installed.
    """
    if isinstance(source, str) and source == "atlas":
        return load_atlas().world(split).questions
    if isinstance(source, str) and source.startswith(PREFIX):
        return _load_hub(source, split)
    if isinstance(source, (str, PathLike)):
        return _load_file(Path(source).expanduser(), split)
    if isinstance(source, (QuestionList, QuestionSource)):
        if split is not None and split != source.split:
            raise ConfigError(
                f"The question source {source.name!r} holds the split {source.split!r}, not {split!r}. "
                "Load the other one, or leave split out."
            )
        return source
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes, bytearray)):
        return _load_rows(source, split)
    raise ConfigError(f"Can't load questions from {type(source).__name__}: {source!r:.100}. {_what_exists()}")


def _what_exists() -> str:
    return (
        f"Questions come from 'atlas' (splits {', '.join(SPLITS)}), a path to a {', '.join(FORMATS)} file, 'hf:<id>' "
        "for a data set of the Hugging Face hub, a QuestionSource, or a sequence of Questions or of mappings."
    )


def _load_file(path: Path, split: str | None) -> QuestionList:
    if not path.exists() and not path.suffix:
        raise ConfigError(f"Unknown questions {str(path)!r}: there is no such file. {_what_exists()}")
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
    except OSError:
        stamp = (0, 0)  # reading it will say what is wrong
    return _read_file_once(path.absolute(), path, split, stamp)


@lru_cache(maxsize=4)
def _read_file_once(absolute: Path, path: Path, split: str | None, stamp: tuple[int, int]) -> QuestionList:
    """Read a file, once for as long as it doesn't change: many environments may want it."""
    return _select(list(read_questions(path)), name=path.name, split=split)


def _load_rows(rows: Sequence[Question | Mapping[str, Any]], split: str | None) -> QuestionList:
    where = "the sequence of questions"
    if not rows:
        raise QuestionError(f"{where} is empty. Give at least one.")
    numbered = enumerate((_as_row(row) for row in rows), start=1)
    return _select(list(as_questions(numbered, where=where, stem="row", unit="item")), name="rows", split=split)


def _as_row(row: Any) -> Any:
    if not isinstance(row, Question):
        return row
    return {"id": row.id, "question": row.question, "golden_answers": row.golden_answers, "metadata": row.metadata}


def _select(questions: list[Question], *, name: str, split: str | None) -> QuestionList:
    """Keep the questions of a split, where their rows say which they belong to."""
    if split is not None:
        splits = dict.fromkeys(str(q.metadata["split"]) for q in questions if "split" in q.metadata)
        if split not in splits:
            has = f"its column 'split' has {', '.join(map(repr, splits))}" if splits else "it has no column 'split'"
            raise ConfigError(f"{name} has no split {split!r}: {has}. Name one that it has, or leave split out.")
        questions = [
            question
            for question in questions
            if "split" in question.metadata and str(question.metadata["split"]) == split
        ]
    return QuestionList(questions, name=name, split=split)


def _load_hub(source: str, split: str | None) -> QuestionList:
    place = HubPlace.parse(source)
    data = open_hub(place, cached=True)
    if split is None:
        raise ConfigError(f"{place} needs a split; it has {', '.join(map(repr, data.splits))}.")
    rows = enumerate(data.rows(split), start=1)
    stem = f"{place.folder.name if place.folder else place.identifier}-{split}"
    return QuestionList(list(as_questions(rows, where=f"{place} ({split})", stem=stem)), name=str(place), split=split)
