import random
from typing import Any

import pytest

from tests.zs_env.engines.around.doubles import FakeTime, Held, Waiting, bad, good, in_turn, request, texts
from zs_env.engines.around import RetryingEngine, is_worth_retrying
from zs_env.errors import ConfigError
from zs_env.types import SearchResult


class Most(random.Random):
    """Draws the largest number there is."""

    def uniform(self, low: float, high: float) -> float:
        return high


def play(engine: Any, queries: str = "a", time: FakeTime | None = None, **options: Any) -> list[SearchResult]:
    time = time or FakeTime()
    retrying = RetryingEngine(engine, clock=time.clock, sleep=time.sleep, rng=Most(), **options)
    return time.run(retrying.search([request(query) for query in queries]))


def test_only_the_failed_requests_of_a_batch_are_asked_again() -> None:
    failing = {"b": 1, "d": 2}

    def answer(asked: Any) -> SearchResult:
        failing[asked.query] = failing.get(asked.query, 0) - 1
        return bad() if failing[asked.query] >= 0 else good(asked.query)

    engine = Waiting(answer)
    results = play(engine, "abcd")
    assert texts(results) == [f"About {query}." for query in "abcd"]
    assert engine.calls[0] == list("abcd")
    assert sorted(engine.calls[1:]) == [["b"], ["d"], ["d"]]
    assert [result.metadata for result in results] == [{"search_tries": n} for n in (1, 2, 1, 3)]


def test_tries_are_bounded_and_pauses_double_up_to_the_longest() -> None:
    time, engine = FakeTime(), Waiting(in_turn(bad("down", cost=0.5)))
    [result] = play(engine, time=time, tries=6, first_wait_s=1.0, longest_wait_s=5.0)
    assert len(engine.calls) == 6
    assert time.slept == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert (result.error, result.metadata) == ("down", {"search_tries": 6})
    assert result.cost == 3.0  # all six tries were paid
    assert result.latency_s == 17.0


def test_pauses_are_drawn_from_all_of_the_range() -> None:
    time = FakeTime()
    retrying = RetryingEngine(
        Waiting(in_turn(bad())),
        tries=200,
        first_wait_s=1.0,
        longest_wait_s=1.0,
        clock=time.clock,
        sleep=time.sleep,
        rng=random.Random(0),
    )
    time.run(retrying.search([request()]))
    assert min(time.slept) < 0.05
    assert max(time.slept) > 0.95
    assert len(time.slept) == 199


def test_one_that_breaks_its_batch_takes_its_mates_along_once() -> None:
    def answer(asked: Any) -> SearchResult:
        if asked.query == "b":
            raise ValueError("cannot encode")
        return good(asked.query)

    assert texts(play(Waiting(answer), "abc")) == ["About a.", "ValueError: cannot encode", "About c."]


@pytest.mark.parametrize(
    ("result", "worth"),
    [
        (bad(), True),
        (bad(metadata={"failure": "timeout"}), True),
        (bad(metadata={"failure": "raised"}), True),
        (bad(metadata={"failure": "open"}), True),
        (bad(metadata={"failure": "budget"}), False),
        (bad(metadata={"failure": "missing"}), False),
        (bad(metadata={"failure": "contract"}), False),
        (bad("401 wrong key", metadata={"retry": False}), False),
        (good("a"), False),
    ],
)
def test_what_is_worth_another_try(result: SearchResult, worth: bool) -> None:
    assert is_worth_retrying(result) == worth
    engine = Waiting(in_turn(result))
    play(engine, tries=2)
    assert len(engine.calls) == 1 + worth


def test_the_engine_may_say_when_to_come_back() -> None:
    time = FakeTime()
    play(Waiting(in_turn(bad(metadata={"retry_after_s": 7.0}), good("a"))), time=time, first_wait_s=1.0)
    assert time.slept == [7.0]
    time = FakeTime()
    play(Waiting(in_turn(bad(metadata={"retry_after_s": 1e9}), good("a"))), time=time, longest_wait_s=30.0)
    assert time.slept == [30.0]


def test_no_try_begins_after_the_deadline() -> None:
    time, engine = FakeTime(), Waiting(in_turn(bad()))
    [result] = play(engine, time=time, tries=100, first_wait_s=4.0, longest_wait_s=4.0, deadline_s=10.0)
    assert result.error == "down"
    assert len(engine.calls) == 3  # at 0, 4 and 8 s
    assert time.now <= 10.0


def test_what_hangs_is_given_up_at_the_deadline() -> None:
    time, engine = FakeTime(), Held()
    results = play(engine, "ab", time=time, deadline_s=10.0)
    assert all(result.error is not None and "10 s (deadline_s)" in result.error for result in results)
    assert time.now == 10.0
    assert engine.cancelled == ["a", "b"]


@pytest.mark.parametrize(
    "options",
    [
        {"tries": 0},
        {"tries": 2.5},
        {"first_wait_s": -1.0},
        {"deadline_s": 0.0},
        {"deadline_s": float("nan")},
        {"longest_wait_s": "5"},
    ],
)
def test_wrong_settings_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        RetryingEngine(Waiting(), **options)
