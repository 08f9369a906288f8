"""What the steps of making a simulator hand on: files of JSON lines, each with a header that says what it is.

    collected.jsonl   a search of a policy, and what a real engine gave          `CollectedSearch`
    labelled.jsonl    the same, and what each of its documents is                `LabelledSearch`
    sft/train.jsonl   a prompt of the simulator, and what it is to write         `Example`
    sft/held_out.jsonl

The first line of a file is its header, `{"schema": …, …}`; the others are records. A line that a kill cut off is passed
over by readers, and whoever goes on writing begins on a line of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from zs_env.errors import ConfigError
from zs_env.types import Document, Quality, Question

__all__ = [
    "COLLECTED",
    "EXAMPLES",
    "LABELLED",
    "CollectedSearch",
    "Example",
    "Label",
    "LabelledSearch",
    "read_header",
    "read_records",
]

COLLECTED = "zerosearch.collected/1"
LABELLED = "zerosearch.labelled/1"
EXAMPLES = "zerosearch.examples/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedSearch:
    """A search that a policy made, and the documents that an engine gave.

    Attributes:
        key: Unique in its file: which question, which of its episodes, which search of it.
        question: The episode's question.
        query: What was searched for.
        documents: What came, best first; never empty.
        engine: The engine's name.
        turn: Which search of its episode, from 0.
        exact_match: Whether the episode ended with a right answer; None where no policy answered.
    """

    key: str
    question: Question
    query: str
    documents: tuple[Document, ...]
    engine: str
    turn: int = 0
    exact_match: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, for a line of a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> CollectedSearch:
        """The reverse of `to_json`."""
        return cls(
            **{
                **row,
                "question": Question(**row["question"]),
                "documents": tuple(Document(**document) for document in row["documents"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one document is for its question.

    Attributes:
        quality: "useful", "noisy", or None where it isn't told, and the document is to be left out.
        by_answer: Whether it holds a golden answer; None where that can't be told.
        by_judge: Whether a model judged that it helps; None where none was asked, or it gave no verdict.
        why: In a word, where `quality` is None: as "disagreement", "yes or no", "no verdict".
    """

    quality: Quality | None
    by_answer: bool | None = None
    by_judge: bool | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSearch:
    """A collected search, and a label for each of its documents, in order."""

    search: CollectedSearch
    labels: tuple[Label, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, for a line of a file."""
        return {"search": self.search.to_json(), "labels": [asdict(label) for label in self.labels]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LabelledSearch:
        """The reverse of `to_json`."""
        labels = tuple(Label(**label) for label in row["labels"])
        return cls(search=CollectedSearch.from_json(row["search"]), labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One thing that a simulator is to learn, in the form that TRL calls conversational prompt and completion.

    Attributes:
        prompt: The messages that `simulate_sft` sends, each with `role` and `content`.
        completion: What the simulator is to write, as one message of the assistant's.
        quality: "useful" or "noisy".
        question: The question.
        query: The query.
        num_documents: How many documents it is to write.
    """

    prompt: tuple[Mapping[str, str], ...]
    completion: tuple[Mapping[str, str], ...]
    quality: Quality
    question: Question
    query: str
    num_documents: int
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, for a line of a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Example:
        """The reverse of `to_json`."""
        return cls(
            **{
                **row,
                "prompt": tuple(row["prompt"]),
                "completion": tuple(row["completion"]),
                "question": Question(**row["question"]),
            }
        )


_KINDS: Mapping[str, Any] = {COLLECTED: CollectedSearch, LABELLED: LabelledSearch, EXAMPLES: Example}

Schema = Literal["zerosearch.collected/1", "zerosearch.labelled/1", "zerosearch.examples/1"]


def read_header(path: str | Path, schema: str) -> dict[str, Any]:
    """The header of a file.

    Raises:
        ConfigError: There is no such file, or it is of another kind or version.
    """
    try:
        with Path(path).open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} can't be read as a file of {schema}: {error}.") from error
    if not isinstance(header, dict) or header.get("schema") != schema:
        found = header.get("schema") if isinstance(header, dict) else header
        raise ConfigError(f"{str(path)!r} must be a file of {schema}; its first line says {found!r:.100}.")
    return header


def read_records(path: str | Path, schema: str) -> Iterator[Any]:
    """The records of a file, in order: `CollectedSearch`, `LabelledSearch` or `Example`, by its schema.

    A last line that a kill cut off is passed over.

    Raises:
        ConfigError: There is no such file, it is of another kind, or a line in it can't be read.
    """
    read_header(path, schema)
    with Path(path).open("rb") as file:
        file.readline()
        for number, line in enumerate(file, start=2):
            if not line.strip():
                continue
            try:
                yield _KINDS[schema].from_json(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                if not line.endswith(b"\n"):
                    return  # cut off by a kill
                raise ConfigError(f"{path}, line {number}: no record of {schema}: {error}.") from error
