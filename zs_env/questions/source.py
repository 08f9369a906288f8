"""Questions in memory: the one class that every source of questions becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import overload

from zs_env.types import Question

__all__ = ["QuestionList", "fingerprint"]


def fingerprint(questions: Sequence[Question]) -> str:
    """A short hash of every id, question and golden answer, in order: equal exactly when these are."""
    digest = hashlib.sha256()
    for question in questions:
        for text in (question.id, question.question, *question.golden_answers):
            encoded = text.encode()
            digest.update(b"%d:" % len(encoded))
            digest.update(encoded)
        digest.update(b";")
    return digest.hexdigest()[:16]


class QuestionList(Sequence[Question]):
    """A sized, indexable, immutable source of questions. Copies share its content, so many environments cost no more.

    Args:
        questions: The questions, in order.
        name: What the source is called in records.
        split: The split that it holds, if it has one.
    """

    __slots__ = ("_fingerprint", "_name", "_questions", "_split")

    def __init__(self, questions: Sequence[Question], *, name: str, split: str | None = None) -> None:
        self._questions = tuple(questions)
        self._name = name
        self._split = split
        self._fingerprint: str | None = None

    @property
    def name(self) -> str:
        """What the source is called."""
        return self._name

    @property
    def split(self) -> str | None:
        """The split that it holds, if it has one."""
        return self._split

    @property
    def fingerprint(self) -> str:
        """A short hash of every id, question and golden answer, in order."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self._questions)
        return self._fingerprint

    def __len__(self) -> int:
        return len(self._questions)

    @overload
    def __getitem__(self, index: int, /) -> Question: ...

    @overload
    def __getitem__(self, index: slice, /) -> tuple[Question, ...]: ...

    def __getitem__(self, index: int | slice, /) -> Question | tuple[Question, ...]:
        return self._questions[index]

    def __iter__(self) -> Iterator[Question]:
        return iter(self._questions)

    def __copy__(self) -> QuestionList:
        return self

    def __deepcopy__(self, memo: object) -> QuestionList:
        return self

    def __repr__(self) -> str:
        split = f", split={self._split!r}" if self._split is not None else ""
        return f"{type(self).__name__}(name={self._name!r}{split}, {len(self)} questions)"
