import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.engines.around.doubles import Waiting, bad, good, in_turn, request, texts
from zs_env.engines import ScriptedEngine
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
    around,
)
from zs_env.errors import ConfigError

ALL: dict[str, Any] = {
    "tries": 2,
    "timeout_s": 5.0,
    "max_in_flight": 2,
    "breaker": 3,
    "budget": {"requests": 100},
    "deadline_s": 60.0,
}


def layers(engine: Any) -> list[type]:
    found = []
    while hasattr(engine, "engine"):
        found.append(type(engine))
        engine = engine.engine
    return found


def test_the_order_is_the_documented_one(tmp_path: Path) -> None:
    made = around(Waiting(), cache=tmp_path / "c", record=tmp_path / "r", **ALL)
    assert layers(made) == [
        RecordingEngine,
        CachedEngine,
        RetryingEngine,
        LimitedEngine,
        BreakerEngine,
        BudgetedEngine,
        TimeoutEngine,
    ]


def test_what_is_not_asked_for_is_not_put_on() -> None:
    engine = Waiting()
    assert around(engine) is engine
    assert around(lambda: engine) is engine


def test_several_engines_are_replicas_with_one_budget() -> None:
    engines = [Waiting(), Waiting(in_turn(bad()))]
    made = around(engines, **ALL | {"budget": {"requests": 3}, "max_in_flight": None, "tries": 1, "deadline_s": None})
    assert layers(made) == [ReplicatedEngine, BreakerEngine, BudgetedEngine, TimeoutEngine]
    asyncio.run(made.search([request(str(number)) for number in range(6)]))
    assert sum(len(engine.asked) for engine in engines) == 3


def test_each_try_is_paid_and_hits_are_not(tmp_path: Path) -> None:
    engine = Waiting(in_turn(bad(), good("x")))
    made = around(engine, cache=tmp_path / "c", tries=2, budget={"requests": 2})
    first = asyncio.run(made.search([request()]))
    assert texts(first + asyncio.run(made.search([request()]))) == ["About x."] * 2
    assert "used up" in str(asyncio.run(made.search([request(seed=1)]))[0].error)
    assert len(engine.asked) == 2


def test_a_replay_makes_no_engine_and_takes_the_settings_of_the_run_it_replays(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    around(ScriptedEngine("text"), record=path).search_now([request()])  # type: ignore[attr-defined]

    def offline() -> Any:
        raise AssertionError("A replay made the engine.")

    made = around(offline, replay=path, cache=tmp_path / "c", **ALL)
    assert isinstance(made, ReplayEngine)
    assert texts(made.search_now([request()])) == ["text"]
    assert not (tmp_path / "c").exists()
    with pytest.raises(ConfigError, match=r"either record .* or replay"):
        around(offline, replay=path, record=path)
