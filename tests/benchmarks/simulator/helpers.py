"""Engines that do one thing wrong, and what measuring them gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.simulator.figures import check_bars
from zs_env.measuring.cases import Case, load_cases
from zs_env.measuring.figures import group_figures
from zs_env.measuring.running import run_cases
from zs_env.quality import judge
from zs_env.types import Document, SearchRequest, SearchResult

CAPITALS = {"France": "Paris", "Italy": "Rome", "Kenya": "Nairobi", "Japan": "Tokyo", "Peru": "Lima", "Egypt": "Cairo"}


class Writing:
    """An engine that writes what a function says; None is a failed search."""

    name = "writing"
    fingerprint = "1"

    def __init__(self, write: Callable[[SearchRequest], Sequence[str] | None]) -> None:
        self.write = write
        self.asked: list[SearchRequest] = []

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: SearchRequest) -> SearchResult:
        self.asked.append(request)
        texts = self.write(request)
        if texts is None:
            return SearchResult(documents=(), engine=self.name, error="no server at http://10.1.2.3:99/v1")
        metadata = {"tries": 2, "input_tokens": 100, "output_tokens": 50, "quality_checked": True}
        return SearchResult(documents=tuple(map(Document, texts)), engine=self.name, cost=0.001, metadata=metadata)


def country_of(request: SearchRequest) -> str:
    return request.question.question.split()[-1].strip("?")


def write_well(request: SearchRequest) -> list[str]:
    """Useful documents hold the answer, noisy ones don't; all are about the query, and none is like another."""
    country = country_of(request)
    if request.quality == "useful":
        return [
            f"The capital of {country} is {CAPITALS[country]}.",
            f"{country} exports {CAPITALS[country]} tea, say {country} guides.",
        ]
    return [
        f"The capital of {country} has many parks.",
        f"{country} is older than its {country[:2]} capital, some in {country} hold.",
    ]


def write_questions(folder: Path, name: str = "capitals.jsonl") -> Path:
    path = folder / name
    rows = [
        {"id": country, "question": f"What is the capital of {country}?", "answer": capital}
        for country, capital in CAPITALS.items()
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def capitals(folder: Path, *paths: Path, **given: Any) -> list[Case]:
    options: dict[str, Any] = {
        "split": None, "limit": None, "queries": "first-hop", "hops": None, "topk": 2, "seed": 0, **given
    }  # fmt: skip
    cases, _ = load_cases([str(path) for path in paths or (write_questions(folder),)], **options)
    return cases


def measure(cases: Sequence[Case], engine: Any) -> tuple[dict[str, Any], dict[str, bool | None]]:
    """Figures of the single-hop questions, and whether each bar is met."""
    answers = run_cases(cases, engine, concurrency=3)
    searches = [(case.request, answered.result) for case, answered in zip(cases, answers, strict=True)]
    figures = group_figures(cases, answers, judge(searches))["single_hop"]
    return figures, {bar["title"]: bar["met"] for bar in check_bars(figures)}
