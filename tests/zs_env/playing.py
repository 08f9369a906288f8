"""Random scripts for the tests that compare ways of stepping."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from zs_env.types import Document, SearchRequest, SearchResult


def random_action(rng: np.random.Generator, question: str) -> str:
    """An action that searches, answers, or is no action at all."""
    words = question.rstrip("?").split()
    some = " ".join(rng.choice(words, size=int(rng.integers(1, len(words) + 1))))
    return str(
        rng.choice(
            [
                f"<think>{some}</think><search>{question}</search> and more",
                f"<search> {some} </search>",
                f"<answer>{some}</answer>",
                f"<think><answer>{some}</answer>",
                "\ud800 <search></search>",
            ],
            p=[0.45, 0.25, 0.1, 0.1, 0.1],
        )
    )


class WaitingEngine:
    """Answers from the draw alone, fails now and then, and only exists for callers that can wait."""

    name = "waiting"

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.pending = 0
        self.most_pending = 0

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        self.calls.append(len(requests))
        self.pending += len(requests)
        self.most_pending = max(self.most_pending, self.pending)
        await asyncio.sleep(0.01)
        self.pending -= len(requests)
        return [self._answer(request) for request in requests]

    def _answer(self, request: SearchRequest) -> SearchResult:
        if request.seed % 7 == 0:
            return SearchResult(documents=(), engine=self.name, error="down")
        texts = [f"{request.quality} {request.seed} {request.query}", *request.question.golden_answers]
        return SearchResult(documents=tuple(map(Document, texts[: request.topk])), engine=self.name)

    def __deepcopy__(self, memo: dict[int, Any]) -> WaitingEngine:
        return self


def row(info: dict[str, Any], i: int) -> dict[str, Any]:
    """Environment i's own info out of a vector's columns."""
    own: dict[str, Any] = {}
    for key, column in info.items():
        if key.startswith("_") or not info[f"_{key}"][i]:
            continue
        value = row(column, i) if isinstance(column, dict) else column[i]
        own[key] = value.item() if isinstance(value, np.generic) else value
    return own


def without_time(info: dict[str, Any]) -> dict[str, Any]:
    """An info without what may differ between equal runs."""
    own = dict(info)
    if "search" in own:
        own["search"] = {key: value for key, value in own["search"].items() if key != "latency_s"}
    return own
