"""A little world to search: capitals, an engine that knows some of them, and files of what was collected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zs_env.engines.scripted import ScriptedEngine
from zs_env.questions import load_questions
from zs_env.tuning.records import CollectedSearch
from zs_env.types import Document, Question, QuestionSource, SearchRequest

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Kenya": "Nairobi",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Egypt": "Cairo",
    "Cuba": "Havana",
    "Chad": "N'Djamena",
}


def capitals() -> QuestionSource:
    return load_questions(
        [{"question": f"What is the capital of {country}?", "answer": city} for country, city in CAPITALS.items()]
    )


def country_of(text: str) -> str:
    return next(country for country in CAPITALS if country in text)


def find(request: SearchRequest) -> list[Document]:
    country = country_of(request.query)
    return [
        Document(f"The capital of {country} is {CAPITALS[country]}.", title=country, metadata={"score": 2.5}),
        Document(f"{country} has many parks."),
    ]


def engine(**options: Any) -> ScriptedEngine:
    return ScriptedEngine(find, **options)


def write_capitals(path: Path, questions: int = len(CAPITALS)) -> Path:
    rows = [{"question": q.question, "answer": list(q.golden_answers)} for q in capitals()][:questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_corpus(path: Path) -> Path:
    rows = [
        {"title": country, "text": text}
        for country, city in CAPITALS.items()
        for text in (f"The capital of {country} is {city}.", f"{country} has many parks, and a capital.")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def collected(country: str, *texts: str, golden: tuple[str, ...] | None = None, **more: Any) -> CollectedSearch:
    question = Question(
        id=country,
        question=f"What is the capital of {country}?",
        golden_answers=golden or (CAPITALS.get(country, "Atlantis City"),),
    )
    documents = tuple(map(Document, texts))
    given: dict[str, Any] = {"key": f"{country}/0/0", "query": f"capital {country}", "engine": "scripted", **more}
    return CollectedSearch(question=question, documents=documents, **given)
