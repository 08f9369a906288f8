"""A question that might do: what patterns and models propose, before anything is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Candidate", "Subject", "subject_of"]

_ASIDE = re.compile(r"\s*\(([^()]*)\)\s*$")
_NO_SUBJECT = re.compile(r"^(?:list of|lists of|index of|outline of|timeline of|\d+ in )", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A question, its answers, and where both come from.

    Attributes:
        question: The question.
        answers: Every accepted answer, the one to show first; each stands in the passage.
        pattern: What proposed it, as "people/born" or "model".
        passage: The passage's id.
        sentence: The sentence that holds the answer; "" where none is known.
        closed_book: Whether the model that wrote it answers it without the passage; None where that isn't told.
    """

    question: str
    answers: tuple[str, ...]
    pattern: str
    passage: str
    sentence: str = ""
    closed_book: bool | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What an article is about: its title's name, and what its title adds in parentheses to tell it from others."""

    name: str
    aside: str = ""

    def named(self, kind: str = "") -> str:
        """How a question names it.

        Examples:
            >>> Subject("Jim Stevenson", "footballer, born 1992").named(), Subject("Jaws").named("the film")
            ('the footballer Jim Stevenson', 'the film Jaws')
        """
        if kind:
            return f"{kind} {self.name}"
        told = re.split(r",| born ", self.aside)[0].strip()
        if told and told.islower() and told.replace(" ", "").isalpha() and len(told.split()) <= 3:
            return f"the {told} {self.name}"
        return f"{self.name} ({self.aside})" if self.aside else self.name


def subject_of(title: str | None) -> Subject | None:
    """What a passage with this title is about; None where that can't be told, as of a list.

    Examples:
        >>> subject_of("God of War (film)")
        Subject(name='God of War', aside='film')
    """
    title = " ".join((title or "").split())
    if not title or _NO_SUBJECT.match(title):
        return None
    aside = _ASIDE.search(title)
    name = title[: aside.start()] if aside else title
    return Subject(name, aside[1] if aside else "") if name else None
