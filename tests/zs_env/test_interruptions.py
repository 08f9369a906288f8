"""What users' engines, rewards and questions get wrong is told, and nothing goes on half-stepped."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import pytest

from tests.zs_env.playing import WaitingEngine
from zs_env import Document, Question, SearchRequest, SearchResult, SimulatedSearchEnv, SimulatedSearchVectorEnv
from zs_env.errors import EngineContractError, EpisodeStateError, QuestionError


class Answering(WaitingEngine):
    """Gives one prepared thing for every search, or raises it."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        if isinstance(self.given, Exception):
            raise self.given
        return [self.given for _ in requests]


@pytest.mark.parametrize(
    "documents",
    [("text",), None, [Document("x")], (Document(None),), (Document(b"x"),), (Document("x", title=3),)],  # type: ignore[arg-type]
)
def test_documents_of_the_wrong_kind_are_told(documents: Any) -> None:
    env = SimulatedSearchEnv(engine=Answering(SearchResult(documents=documents, engine="test")))
    env.reset(seed=0)
    with pytest.raises(EngineContractError, match="Document"):
        env.step("<search>x</search>")


def test_a_search_that_is_not_asynchronous_is_told() -> None:
    class Plain:
        name = "plain"

        def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
            return []

    env = SimulatedSearchEnv(engine=Plain())  # type: ignore[arg-type]
    env.reset(seed=0)
    with pytest.raises(EngineContractError, match="async def search"):
        env.step("<search>x</search>")


def test_an_engine_may_want_a_running_loop() -> None:
    class Futures:
        name = "futures"

        def search(self, requests: Sequence[SearchRequest]) -> asyncio.Future[list[SearchResult]]:
            future: asyncio.Future[list[SearchResult]] = asyncio.get_running_loop().create_future()
            future.set_result([SearchResult(documents=(), engine=self.name) for _ in requests])
            return future

    env = SimulatedSearchEnv(engine=Futures())  # type: ignore[arg-type]
    env.reset(seed=0)
    assert "No documents were found" in env.step("<search>x</search>")[0]


def test_after_an_error_of_an_engine_a_reset_is_asked_for_and_helps() -> None:
    for make in (SimulatedSearchEnv, lambda **given: SimulatedSearchVectorEnv(1, **given)):
        engine = Answering(ConnectionError("refused"))
        env: Any = make(engine=engine)
        action: Any = "<search>x</search>" if isinstance(env, SimulatedSearchEnv) else ["<search>x</search>"]
        env.reset(seed=0)
        with pytest.raises(ConnectionError):
            env.step(action)
        with pytest.raises(EpisodeStateError, match=r"reset\(\)"):
            env.step(action)
        engine.given = SearchResult(documents=(), engine="test")
        env.reset(seed=0)
        env.step(action)


def test_after_a_time_out_a_reset_is_asked_for() -> None:
    env = SimulatedSearchEnv(engine=WaitingEngine())
    env.reset(seed=0)

    async def play() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(env.astep("<search>x</search>"), 0.0001)

    asyncio.run(play())
    with pytest.raises(EpisodeStateError, match=r"reset\(\)"):
        env.step("<answer>x</answer>")


@pytest.mark.parametrize(
    "given",
    [
        {"golden_answers": ()},
        {"golden_answers": "Paris"},
        {"golden_answers": ("",)},
        {"golden_answers": (3,)},
        {"question": " "},
        {"id": ""},
        {"metadata": 5},
    ],
)
def test_a_question_is_checked_when_it_is_made(given: dict[str, Any]) -> None:
    with pytest.raises(QuestionError):
        Question(**{"id": "1", "question": "capital of France?", "golden_answers": ("Paris",), **given})


def test_a_list_of_golden_answers_becomes_a_tuple() -> None:
    question = Question(id="1", question="capital of France?", golden_answers=["Paris"])  # type: ignore[arg-type]
    assert question.golden_answers == ("Paris",)


def test_copies_of_an_environment_share_an_engine_that_cannot_be_copied() -> None:
    engine = WaitingEngine()
    engine.lock = threading.Lock()  # type: ignore[attr-defined]
    for env in (SimulatedSearchEnv(engine=engine), SimulatedSearchVectorEnv(2, engine=engine)):
        assert copy.deepcopy(env).engine is engine


def test_processes_with_shared_memory_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="shared_memory"):
        gym.make_vec("ZeroSearch-v0", num_envs=2, vectorization_mode="async")


def test_a_query_for_a_fact_that_the_atlas_lacks_is_not_supported() -> None:
    env = SimulatedSearchEnv()
    for query, supported in (("president of Togo", False), ("tell me about Togo", True), ("capital of Togo", True)):
        env.reset(seed=0)
        assert env.step(f"<search>{query}</search>")[4]["search"]["supports_query"] is supported


def test_rendering_shows_what_the_policy_saw() -> None:
    long = SearchResult(documents=(Document("word " * 100 + "end"),), engine="test")
    env = SimulatedSearchEnv(
        engine=Answering(long), max_information_chars=100, render_mode="ansi", reward=lambda outcome: 1e100
    )
    env.reset(seed=0)
    env.step("a < b <b>bold</b> <search>x</search>")
    env.step("<answer>x</answer>")
    shown = env.render()
    assert shown is not None
    assert "end" not in shown.split("word", 1)[1].split("Turn", 1)[0]
    assert shown.count("says") == 1
    assert "1e+100" in shown
