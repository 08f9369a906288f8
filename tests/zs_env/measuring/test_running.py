from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.simulator.helpers import Writing, capitals, write_well
from zs_env.errors import ConfigError
from zs_env.measuring.running import MAX_FAILURES, run_cases


def test_answers_come_in_order_and_side_by_side(tmp_path: Path) -> None:
    class Slow(Writing):
        running = most = 0

        async def search(self, requests: Any) -> Any:
            self.running += 1
            self.most = max(self.most, self.running)
            for _ in range(len(self.asked) % 3 + 1):  # they end in another order than they began
                await asyncio.sleep(0)
            self.running -= 1
            return await super().search(requests)

    cases, engine = capitals(tmp_path), Slow(write_well)
    answers = run_cases(cases, engine, concurrency=4)
    assert engine.most == 4
    for case, answered in zip(cases, answers, strict=True):
        assert [document.text for document in answered.result.documents] == write_well(case.request)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    cases, path = capitals(tmp_path), tmp_path / "searches.jsonl"

    class Killed(Writing):
        def _answer(self, request: Any) -> Any:
            if len(self.asked) == 5:
                raise KeyboardInterrupt
            return super()._answer(request)

    killed = Killed(write_well)
    with pytest.raises(KeyboardInterrupt):
        run_cases(cases, killed, concurrency=1, path=path)
    with path.open("a") as file:
        file.write('{"key": "torn')  # as a kill in the middle of a line leaves it
    again = Writing(write_well)
    answers = run_cases(cases, again, concurrency=1, path=path)
    assert len(again.asked) == 12 - 5
    assert [answered.session for answered in answers] == [0] * 5 + [1] * 7
    assert run_cases(cases, Writing(lambda request: None), concurrency=1, path=path) == answers


def test_failed_searches_are_asked_again_on_demand_alone(tmp_path: Path) -> None:
    cases, path = capitals(tmp_path), tmp_path / "searches.jsonl"
    noisy_fails = Writing(lambda request: None if request.quality == "noisy" else write_well(request))
    run_cases(cases, noisy_fails, concurrency=2, path=path)
    again = Writing(write_well)
    kept = run_cases(cases, again, concurrency=2, path=path)
    assert not again.asked
    assert sum(answered.result.error is not None for answered in kept) == 6
    retried = run_cases(cases, again, concurrency=2, path=path, retry_failed=True)
    assert len(again.asked) == 6
    assert all(answered.result.error is None for answered in retried)


def test_another_engines_searches_are_not_gone_on_with(tmp_path: Path) -> None:
    cases, path = capitals(tmp_path), tmp_path / "searches.jsonl"
    run_cases(cases, Writing(write_well), concurrency=2, path=path)
    other = Writing(write_well)
    other.fingerprint = "2"
    with pytest.raises(ConfigError, match="holds searches of"):
        run_cases(cases, other, concurrency=2, path=path)


def test_an_engine_that_isnt_there_ends_the_run(tmp_path: Path) -> None:
    dead = Writing(lambda request: None)
    cases = [case for seed in range(9) for case in capitals(tmp_path, seed=seed)]
    with pytest.raises(ConfigError, match=f"first {MAX_FAILURES} searches all failed.*no server"):
        run_cases(cases, dead, concurrency=2)
    assert len(dead.asked) <= MAX_FAILURES + 2


def test_what_an_engine_raises_is_a_failed_search(tmp_path: Path) -> None:
    def write(request: Any) -> Any:
        if request.quality == "noisy":
            raise RuntimeError("out of luck")
        return write_well(request)

    answers = run_cases(capitals(tmp_path), Writing(write), concurrency=2)
    assert [answered.result.error for answered in answers] == [None, "RuntimeError: out of luck"] * 6
