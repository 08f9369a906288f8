"""Every wrapper is an engine itself: the contract of engines holds around any of them."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zs_env.engines.around.doubles import Held, Waiting, bad, good, request, settle, texts
from zs_env.checker import check_engine
from zs_env.engines import TemplateEngine
from zs_env.engines.around import (
    BreakerEngine,
    BudgetedEngine,
    CachedEngine,
    LimitedEngine,
    RecordingEngine,
    ReplayEngine,
    ReplicatedEngine,
    RetryingEngine,
    TimeoutEngine,
    Wrapper,
    around,
)
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine, SearchRequest, SearchResult, SyncSearchEngine

Wrap = Callable[[Any, Path], SearchEngine]

WRAPPERS: dict[str, Wrap] = {
    "none": lambda engine, _: Wrapper(engine),
    "cached": lambda engine, folder: CachedEngine(engine, folder / "cache.sqlite"),
    "recording": lambda engine, folder: RecordingEngine(engine, folder / "record.jsonl"),
    "retrying": lambda engine, _: RetryingEngine(engine, tries=2, first_wait_s=0.0),
    "retrying-deadline": lambda engine, _: RetryingEngine(engine, tries=2, first_wait_s=0.0, deadline_s=60.0),
    "timeout": lambda engine, _: TimeoutEngine(engine, 60.0),
    "timeout-batch": lambda engine, _: TimeoutEngine(engine, 60.0, per="batch"),
    "breaker": lambda engine, _: BreakerEngine(engine, failures=1_000),
    "replicated": lambda engine, _: ReplicatedEngine([engine, engine, engine], failures=1_000),
    "replicated-round-robin": lambda engine, _: ReplicatedEngine([engine] * 2, pick="round_robin", failures=1_000),
    "limited": lambda engine, _: LimitedEngine(engine, 3),
    "budgeted": lambda engine, folder: BudgetedEngine(engine, {"requests": 10**6, "path": str(folder / "b.sqlite")}),
    "all": lambda engine, folder: around(
        engine,
        cache=folder / "cache.sqlite",
        record=folder / "record.jsonl",
        tries=2,
        deadline_s=60.0,
        timeout_s=60.0,
        max_in_flight=3,
        breaker=1_000,
        budget={"requests": 10**6},
    ),
}
DIRECT = {"none", "cached", "recording", "timeout", "timeout-batch", "breaker", "budgeted"}


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_contract_of_engines_holds_around_the_template_engine(name: str, tmp_path: Path) -> None:
    check_engine(WRAPPERS[name](TemplateEngine(), tmp_path))


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_goes_directly_where_engine_and_wrapper_need_not_wait(name: str, tmp_path: Path) -> None:
    wrapped = WRAPPERS[name](TemplateEngine(), tmp_path / "a")
    assert wrapped.name == "template"
    assert isinstance(wrapped, SyncSearchEngine) == (name in DIRECT)
    assert not isinstance(WRAPPERS[name](Waiting(), tmp_path / "b"), SyncSearchEngine)


@pytest.mark.parametrize("name", WRAPPERS)
def test_copies_are_the_wrapper_itself(name: str, tmp_path: Path) -> None:
    wrapped = WRAPPERS[name](TemplateEngine(), tmp_path)
    assert copy.deepcopy(wrapped) is wrapped
    assert copy.copy(wrapped) is wrapped


class Raising:
    name = "raising"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def search(self, requests: list[SearchRequest]) -> list[SearchResult]:
        raise self.error


class Short:
    name = "short"

    async def search(self, requests: list[SearchRequest]) -> list[SearchResult]:
        return [good(asked.query) for asked in requests][:-1]


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_an_engine_raises_or_breaks_is_the_failure_of_its_requests(name: str, tmp_path: Path) -> None:
    wrapped = WRAPPERS[name](Raising(ConnectionError("refused \ud800")), tmp_path / "a")
    for result in asyncio.run(wrapped.search([request("a"), request("b")])):
        assert result.error is not None
        assert "ConnectionError: refused ?" in result.error
        assert result.documents == ()
        assert result.metadata is not None
        assert result.metadata["failure"] == "raised"
    broken = asyncio.run(WRAPPERS[name](Short(), tmp_path / "b").search([request("a"), request("b", seed=1)]))
    assert len(broken) == 2
    assert all(result.error is None or "one result for each" in result.error for result in broken)


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError])
def test_interrupts_and_cancellations_pass_through(error: type[BaseException], tmp_path: Path) -> None:
    for name in DIRECT - {"timeout", "timeout-batch"}:  # a task of asyncio's own stops its loop on an interrupt
        search = WRAPPERS[name](Raising(error()), tmp_path / name).search([request()])
        with pytest.raises(error):
            search.send(None)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_cancelled_search_cancels_the_engine_and_leaves_the_wrapper_usable(name: str, tmp_path: Path) -> None:
    engine = Held()
    wrapped = WRAPPERS[name](engine, tmp_path)

    async def main() -> None:
        task = asyncio.ensure_future(wrapped.search([request("a"), request("b")]))
        await settle()
        task.cancel()
        await settle()
        assert task.cancelled()
        assert sorted(engine.cancelled) == ["a", "b"]
        assert engine.under_way == 0
        again = asyncio.ensure_future(wrapped.search([request("c")]))
        await settle()
        while engine.let_go():
            await settle()
        assert texts(await again) == ["About c."]

    asyncio.run(main())


@settings(max_examples=25, deadline=None)
@given(fates=st.lists(st.sampled_from(["good", "bad", "raise"]), max_size=8), data=st.data())
def test_in_a_mixed_batch_each_request_gets_its_own_result_in_order(
    fates: list[str], data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def answer(asked: SearchRequest) -> SearchResult:
        fate, number = asked.query.split()
        if fate == "raise":
            raise OSError(f"no {number}")
        return good(asked.query) if fate == "good" else bad(f"no {number}")

    class ByItself(Waiting):
        """Asks its own function for each request, and reports what it raises."""

        async def search(self, requests: Any) -> list[SearchResult]:
            results = []
            for asked in requests:
                try:
                    results += await super().search([asked])
                except OSError as error:
                    results.append(bad(str(error)))
            return results

    requests = [request(f"{fate} {number}") for number, fate in enumerate(fates)]
    expected = [f"About {fate} {i}." if fate == "good" else f"no {i}" for i, fate in enumerate(fates)]
    name = data.draw(st.sampled_from(sorted(WRAPPERS)))
    wrapped = WRAPPERS[name](ByItself(answer), tmp_path_factory.mktemp(name))
    found = texts(asyncio.run(wrapped.search(requests)))
    assert [
        text.removeprefix("All 3 replicas failed; the last one: ").removeprefix("All 2 replicas failed; the last one: ")
        for text in found
    ] == expected


@pytest.mark.parametrize("name", WRAPPERS)
def test_loops_of_several_threads_share_a_wrapper(name: str, tmp_path: Path) -> None:
    engine = Waiting()
    wrapped = WRAPPERS[name](engine, tmp_path)
    found: dict[int, list[Any]] = {}

    def play(number: int) -> None:
        async def main() -> list[Any]:
            searches = (wrapped.search([request(f"{number} {i}"), request(f"{number} {i} too")]) for i in range(5))
            return [text for results in await asyncio.gather(*searches) for text in texts(results)]

        found[number] = asyncio.run(main())

    threads = [threading.Thread(target=play, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert found[number] == [f"About {number} {i}{more}." for i in range(5) for more in ("", " too")]


def test_a_replay_keeps_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    recording = RecordingEngine(TemplateEngine(), path)
    check_engine(recording)
    check_engine(ReplayEngine(path))
    assert ReplayEngine(path).name == "template"


def test_what_is_no_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"async search\(requests\)"):
        Wrapper("template")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one search engine"):
        ReplicatedEngine([])
