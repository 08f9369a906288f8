"""Labelled searches, small and made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from zs_env.matching import find_matcher
from zs_env.tuning.records import LABELLED, CollectedSearch, Label, LabelledSearch
from zs_env.types import Document, Question

PEOPLE = (
    ("Ada Alder", "Rome", "poet"),
    ("Bo Birch", "Lima", "sailor"),
    ("Cy Cedar", "Oslo", "painter"),
    ("Di Dogwood", "Quito", "singer"),
    ("Ed Elm", "Cairo", "judge"),
    ("Flo Fir", "Tunis", "pilot"),
    ("Gus Gum", "Paris", "tailor"),
    ("Hal Holly", "Delhi", "miner"),
    ("Ivy Iroko", "Tokyo", "actor"),
    ("Jo Juniper", "Accra", "cook"),
)


def passage(number: int) -> Document:
    """What an encyclopedia says of a person."""
    name, place, trade = PEOPLE[number % len(PEOPLE)]
    return Document(
        title=name,
        text=f"{name} was born in the old town of {place} in a small white house by the river. "
        f"As a young {trade} {name.split()[0]} worked in many towns and was known for long letters to friends. "
        f"A street and a school in the north are named after {name} to this day, and visitors leave flowers there.",
    )


def searches(count: int = len(PEOPLE), *, repeat: int = 1) -> list[LabelledSearch]:
    """Where people were born, with the passage that says it and two others."""
    found = []
    for number in range(count):
        name, place, _ = PEOPLE[number]
        question = Question(id=f"q{number}", question=f"Where was {name} born?", golden_answers=(place,))
        for turn in range(repeat):
            documents = tuple(passage(number + step) for step in (1, 0, 2))
            found.append(labelled(question, question.question + " " * turn, documents, f"{number}/{turn}"))
    return found


def labelled(question: Question, query: str, documents: Sequence[Document], key: str) -> LabelledSearch:
    """A search labelled by its answer."""
    matcher = find_matcher(tuple(question.golden_answers), question.question)
    return LabelledSearch(
        search=CollectedSearch(
            key=key, question=question, query=query.strip(), documents=tuple(documents), engine="bm25"
        ),
        labels=tuple(
            Label(quality="useful" if matcher.is_held(document.text) else "noisy", by_answer=True)
            for document in documents
        ),
    )


def write_labelled(path: Path, some: Sequence[LabelledSearch]) -> Path:
    """A file like those of `tune label`."""
    lines = [{"schema": LABELLED, "by": "answer"}, *(each.to_json() for each in some)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
