"""Requests and engines for the tests of simulated search."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.zs_env.engines.fault_server import FaultServer
from zs_env.engines import SimulatedEngine, make_engine
from zs_env.types import Question, SearchRequest, SearchResult

FRANCE = Question(id="france", question="What is the capital of France?", golden_answers=("Paris",))


def ask(query: str = "capital of France", question: Question = FRANCE, **given: Any) -> SearchRequest:
    values: dict[str, Any] = {"quality": "useful", "noise_probability": 0.5, "seed": 1, "topk": 2, **given}
    return SearchRequest(query=query, question=question, **values)


def engine_of(server: FaultServer | str, mode: str = "simulate_prompt", **options: Any) -> SimulatedEngine:
    given = {"simulation_llm": "m", "backoff_s": 0.001, "api_key_env": "", **options}
    engine = make_engine(mode, base_url=server if isinstance(server, str) else server.base_url, **given)
    assert isinstance(engine, SimulatedEngine)
    return engine


def search(engine: SimulatedEngine, *requests: SearchRequest) -> list[SearchResult]:
    return asyncio.run(engine.search(requests or [ask()]))


def texts(result: SearchResult) -> list[str]:
    return [document.text for document in result.documents]
