import asyncio
from typing import Any

from tests.zs_env.engines.around.doubles import FakeTime, Held, Waiting, bad, good, in_turn, request, settle, texts
from zs_env.engines import ScriptedEngine
from zs_env.engines.around import BreakerEngine
from zs_env.types import SearchRequest, SearchResult


def broken(engine: Any, time: FakeTime, failures: int = 2) -> BreakerEngine:
    breaker = BreakerEngine(engine, failures=failures, rest_s=30.0, clock=time.clock)
    time.run(breaker.search([request() for _ in range(failures)]))
    return breaker


def test_it_opens_after_failures_in_a_row_and_then_asks_nobody() -> None:
    time, engine = FakeTime(), Waiting(in_turn(bad(), good("x"), bad(), bad(), good("y")))
    breaker = BreakerEngine(engine, failures=2, rest_s=30.0, clock=time.clock)
    time.run(breaker.search([request() for _ in range(3)]))
    assert breaker.state == "closed"  # a good one was between them
    time.run(breaker.search([request()]))
    assert breaker.state == "open"
    assert not breaker.would_ask
    [result] = time.run(breaker.search([request()]))
    assert result.error == "The engine 'double' failed 2 times in a row and isn't asked for 30 s (circuit breaker)."
    assert result.metadata == {"failure": "open"}
    assert len(engine.asked) == 4


def test_after_its_rest_one_search_tries_and_closes_it_for_the_others() -> None:
    time = FakeTime()
    engine = Waiting(in_turn(bad(), bad(), good("x")))
    breaker = broken(engine, time)
    time.now = 30.0
    assert (breaker.state, breaker.would_ask) == ("half-open", True)
    assert texts(time.run(breaker.search([request() for _ in range(3)]))) == ["About x."] * 3
    assert [len(call) for call in engine.calls] == [2, 1, 2]
    assert breaker.state == "closed"


def test_if_that_search_fails_it_opens_again_and_the_others_fail_at_once() -> None:
    time, engine = FakeTime(), Waiting(in_turn(bad()))
    breaker = broken(engine, time)
    time.now = 31.0
    errors = texts(time.run(breaker.search([request() for _ in range(3)])))
    assert errors[0] == "down"
    assert all("circuit breaker" in error for error in errors[1:])
    assert len(engine.asked) == 3
    assert breaker.state == "open"
    time.now = 60.0
    assert breaker.state == "open"
    time.now = 61.0
    assert breaker.state == "half-open"


def test_one_search_alone_tries_and_a_cancelled_one_is_as_if_nobody_had_asked() -> None:
    time, engine = FakeTime(), Held(in_turn(bad(), bad(), good("x")))

    async def main() -> None:
        breaker = BreakerEngine(engine, failures=2, rest_s=30.0, clock=time.clock)
        first = asyncio.ensure_future(breaker.search([request(), request()]))
        await settle()
        engine.let_go()
        await first
        time.now = 30.0
        trial = asyncio.ensure_future(breaker.search([request("trial")]))
        await settle()
        assert not breaker.would_ask
        [other] = await breaker.search([request("other")])
        assert "circuit breaker" in str(other.error)
        trial.cancel()
        await settle()
        assert (breaker.state, breaker.would_ask) == ("half-open", True)
        trial = asyncio.ensure_future(breaker.search([request("again")]))
        await settle()
        engine.let_go()
        engine.let_go()
        await trial
        assert breaker.state == "closed"

    asyncio.run(main())


def test_what_was_asked_before_it_opened_no_longer_counts() -> None:
    time, engine = FakeTime(), Held(lambda asked: good("x") if asked.query == "old" else bad())

    async def main() -> None:
        breaker = BreakerEngine(engine, failures=1, rest_s=30.0, clock=time.clock)
        old = asyncio.ensure_future(breaker.search([request("old")]))
        await settle()
        new = asyncio.ensure_future(breaker.search([request("new")]))
        await settle()
        held = engine._held
        held.reverse()
        engine.let_go()
        await new
        assert breaker.state == "open"
        engine.let_go()
        assert texts(await old) == ["About x."]
        assert breaker.state == "open"

    asyncio.run(main())


def test_failures_that_say_nothing_of_the_engine_do_not_count() -> None:
    time = FakeTime()
    for metadata in ({"failure": "budget"}, {"retry": False}):
        breaker = broken(Waiting(in_turn(bad(metadata=metadata))), time, failures=1)
        assert breaker.state == "closed"
    for metadata in ({"failure": "timeout"}, {"failure": "raised"}, None):
        assert broken(Waiting(in_turn(bad(metadata=metadata))), time, failures=1).state == "open"


def test_it_guards_engines_that_never_wait_too() -> None:
    def answer(asked: SearchRequest) -> SearchResult:
        raise AssertionError

    engine = ScriptedEngine(answer, fail=True)
    breaker = BreakerEngine(engine, failures=2)
    errors = [breaker.search_now([request()])[0].error for _ in range(4)]
    assert errors[:2] == ["scripted failure"] * 2
    assert len(engine.requests) == 2
