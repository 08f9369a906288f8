"""Simulators that do one thing wrong, and questions to ask them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.simulator.helpers import Writing
from zs_env.measuring.cases import Case, load_cases
from zs_env.measuring.running import run_cases
from zs_env.tuning.gating.figures import Measured, measure
from zs_env.types import SearchRequest

PLACES = [f"{first}{second}" for first in ("Ald", "Bor", "Cas", "Dun", "Elm", "Far") for second in ("ia", "ovia", "stan", "mark")]  # fmt: skip  # noqa: E501
CAPITALS = {place: f"{place[::-1].capitalize()}ville" for place in PLACES}
ROWS = [{"id": place, "question": f"What is the capital of {place}?", "answer": CAPITALS[place]} for place in PLACES]

Write = Callable[[SearchRequest], Sequence[str] | None]


def place_of(request: SearchRequest) -> str:
    return request.question.question.split()[-1].strip("?")


def well(request: SearchRequest) -> list[str]:
    """Useful documents hold the answer, noisy ones don't; all are about the query, and none is like another."""
    place = place_of(request)
    number = PLACES.index(place)
    if request.quality == "useful":
        return [
            f"The capital of {place} is {CAPITALS[place]}, as {number} maps say.",
            f"{place} exports tea of {CAPITALS[place]} by {number} ports, {place} guides hold.",
        ]
    return [
        f"The capital of {place} has {number} parks and a river.",
        f"{place} is older than its {place[:2]} capital by {number} years, some in {place} hold.",
    ]


def leaking(request: SearchRequest) -> list[str]:
    """As small prompted models do: noisy documents hold the answer too, but for a few questions."""
    place = place_of(request)
    number = PLACES.index(place)
    if number % 6 == 0:
        return well(request)
    kind = "seat" if request.quality == "noisy" else "capital"
    return [
        f"The {kind} of {place} is {CAPITALS[place]}, as {number} maps show.",
        f"{place} has the {kind} {CAPITALS[place]} with {number} {request.quality} ports.",
    ]


def write_questions(folder: Path, rows: Sequence[dict[str, str]] = ROWS) -> Path:
    path = folder / "questions_held_out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def held_out_cases(folder: Path, rows: Sequence[dict[str, str]] = ROWS) -> list[Case]:
    path = str(write_questions(folder, rows))
    cases, _ = load_cases([path], split=None, limit=None, queries="given", hops=1, topk=2, seed=0)
    return cases


def measured_by(cases: Sequence[Case], *writers: Write) -> list[Measured]:
    answers = [run_cases(cases, Writing(write), concurrency=2) for write in writers]
    return measure(cases, answers, [[] for _ in writers])
