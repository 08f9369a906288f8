import asyncio
from collections.abc import Sequence

import pytest

from tests.zs_env.engines.around.doubles import FakeTime, Held, good, request, settle, texts
from zs_env.engines.around import TimeoutEngine
from zs_env.errors import ConfigError
from zs_env.types import SearchRequest, SearchResult


class Slow:
    """Takes as many seconds as the query says."""

    name = "slow"

    def __init__(self, time: FakeTime) -> None:
        self._time = time

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        for asked in requests:
            await self._time.sleep(float(asked.query))
        return [good(asked.query) for asked in requests]


def test_a_slow_request_does_not_take_its_mates_along() -> None:
    time = FakeTime()
    engine = TimeoutEngine(Slow(time), 5.0, clock=time.clock, sleep=time.sleep)
    results = time.run(engine.search([request("1"), request("100"), request("4")]))
    assert texts(results) == ["About 1.", "The search was given up: it took more than 5 s (timeout_s).", "About 4."]
    assert results[1].latency_s == 5.0
    assert results[1].metadata == {"failure": "timeout"}
    assert time.now == 5.0


def test_a_batch_may_be_given_up_as_one() -> None:
    time = FakeTime()
    engine = TimeoutEngine(Slow(time), 5.0, per="batch", clock=time.clock, sleep=time.sleep)
    assert all(result.error for result in time.run(engine.search([request("1"), request("100")])))
    assert texts(time.run(engine.search([request("1"), request("2")]))) == ["About 1.", "About 2."]


def test_an_engine_that_does_not_heed_its_cancellation_holds_nobody_up() -> None:
    time, release = FakeTime(), asyncio.Event()

    class Stubborn(Held):
        async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    self.cancelled.append("heard")
            raise OSError("too late, and nobody hears it")

    engine = Stubborn()

    async def main() -> list[SearchResult]:
        found = await TimeoutEngine(engine, 5.0, clock=time.clock, sleep=time.sleep).search([request()])
        await settle()
        release.set()
        await settle()
        return found

    [result] = time.run(main())
    assert result.error is not None
    assert engine.cancelled == ["heard"]


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), "5", True])
def test_wrong_seconds_are_told(seconds: float) -> None:
    with pytest.raises(ConfigError, match="timeout_s is a number of seconds, above 0"):
        TimeoutEngine(Held(), seconds)
    with pytest.raises(ConfigError, match="per must be"):
        TimeoutEngine(Held(), 1.0, per="search")
