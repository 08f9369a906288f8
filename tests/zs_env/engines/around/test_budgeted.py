import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.engines.around.doubles import Held, Waiting, bad, good, in_turn, request, settle, texts
from zs_env.engines import ScriptedEngine
from zs_env.engines.around import Budget, BudgetedEngine, Ledger, RetryingEngine
from zs_env.engines.around.budgeted import tokens_of
from zs_env.errors import BudgetError, ConfigError


def requests(count: int) -> list[Any]:
    return [request(str(number)) for number in range(count)]


def test_no_more_requests_than_allowed_and_the_rest_say_why() -> None:
    engine = ScriptedEngine("text", fail=["1"])
    budgeted = BudgetedEngine(engine, {"requests": 3})
    results = budgeted.search_now(requests(5))
    assert texts(results)[:3] == ["text", "scripted failure", "text"]  # a failed search was made all the same
    for result in results[3:] + budgeted.search_now(requests(1)):
        assert result.metadata == {"failure": "budget"}
        assert str(result.error).startswith("The budget for searches is used up: 3 of 3 requests")
    assert len(engine.requests) == 3
    assert budgeted.spent == (3, 0, 0.0)


def test_tokens_and_money_stop_it_once_they_are_used_up() -> None:
    for limit, metadata, cost in (({"tokens": 25}, {"usage": {"total_tokens": 10}}, 0.0), ({"cost": 0.5}, None, 0.2)):
        engine = ScriptedEngine(in_turn(good("x", metadata=metadata, cost=cost)))
        budgeted = BudgetedEngine(engine, limit)
        errors = [budgeted.search_now([request()])[0].error for _ in range(5)]
        assert [error is None for error in errors] == [True, True, True, False, False]
        assert len(engine.requests) == 3


def test_callers_at_the_same_time_cannot_overspend_by_more_than_is_under_way() -> None:
    engine = Held(lambda asked: good(asked.query, cost=1.0))

    async def main() -> None:
        budgeted = BudgetedEngine(engine, {"cost": 4.0})
        first = asyncio.ensure_future(budgeted.search([request("first")]))
        await settle()
        engine.let_go()
        await first  # now it is known what one costs, and 3.0 are left
        tasks = [asyncio.ensure_future(budgeted.search([request(str(n))])) for n in range(10)]
        await settle()
        assert len(engine.calls) == 1 + 3
        while engine.let_go():
            await settle()
        results = [result for task in tasks for result in await task]
        assert [result.error is None for result in results] == [True] * 3 + [False] * 7
        assert budgeted.spent == (4, 0, 4.0)

    asyncio.run(main())


def test_what_was_put_aside_for_a_cancelled_search_stays_counted() -> None:
    engine = Held(lambda asked: good(asked.query, cost=1.0))

    async def main() -> None:
        budgeted = BudgetedEngine(engine, {"requests": 3, "cost": 10.0})
        first = asyncio.ensure_future(budgeted.search([request()]))
        await settle()
        engine.let_go()
        await first
        task = asyncio.ensure_future(budgeted.search([request()]))
        await settle()
        task.cancel()
        await settle()
        assert budgeted.spent == (2, 0, 2.0)

    asyncio.run(main())


def test_counters_survive_a_restart(tmp_path: Path) -> None:
    budget = Budget(requests=3, path=str(tmp_path / "budget.sqlite"))
    engine = ScriptedEngine("text")
    for _ in range(2):
        BudgetedEngine(engine, budget).search_now(requests(2))
    assert len(engine.requests) == 3
    sqlite3.connect(tmp_path / "other.sqlite").executescript("CREATE TABLE mine (a)")
    with pytest.raises(ConfigError, match="no search budget"):
        Ledger(tmp_path / "other.sqlite")


def test_a_file_that_cannot_be_written_lets_nothing_through(tmp_path: Path) -> None:
    path = tmp_path / "budget.sqlite"
    engine = ScriptedEngine("text")
    budgeted = BudgetedEngine(engine, Budget(requests=3, path=str(path)))
    sqlite3.connect(path).executescript("DROP TABLE spent")
    assert "the budget's file can't be written" in str(budgeted.search_now([request()])[0].error)
    assert engine.requests == []


def test_it_may_stop_the_run_and_no_wrapper_holds_that_up() -> None:
    engine = Waiting()
    budgeted = BudgetedEngine(engine, {"requests": 2, "on_spent": "stop"})
    asyncio.run(budgeted.search(requests(1)))
    with pytest.raises(BudgetError, match="1 of 2 requests"):
        asyncio.run(RetryingEngine(budgeted, deadline_s=60.0).search(requests(2)))
    assert len(engine.asked) == 1
    assert budgeted.spent.requests == 1


def test_cached_results_count_nothing() -> None:
    engine = ScriptedEngine(in_turn(good("x", cached=True, cost=1.0, metadata={"tokens": 5})))
    budgeted = BudgetedEngine(engine, {"requests": 1, "tokens": 1, "cost": 1.0})
    assert all(result.error is None for _ in range(3) for result in budgeted.search_now([request()]))
    assert budgeted.spent == (0, 0, 0.0)


def test_engines_may_share_a_budget() -> None:
    ledger, engines = Ledger(), [ScriptedEngine("a"), ScriptedEngine("b")]
    for engine in engines:
        BudgetedEngine(engine, {"requests": 3}, ledger=ledger).search_now(requests(2))
    assert [len(engine.requests) for engine in engines] == [2, 1]


@pytest.mark.parametrize(
    ("metadata", "tokens"),
    [
        ({"usage": {"total_tokens": 7, "prompt_tokens": 5, "completion_tokens": 1}}, 7),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 2}}, 7),
        ({"usage": {"prompt_tokens": 5, "total_tokens": None}}, 5),
        ({"usage": {}}, 0),
        ({"input_tokens": 5, "output_tokens": 2}, 7),
        ({"tokens": 7}, 7),
        ({"tokens": "7"}, 0),
        (None, 0),
    ],
)
def test_tokens_are_read_as_servers_report_them(metadata: Any, tokens: int) -> None:
    assert tokens_of(good("x", metadata=metadata)) == tokens
    assert tokens_of(bad(metadata=metadata)) == tokens


@pytest.mark.parametrize(
    "budget",
    [
        {},
        {"requests": -1},
        {"requests": 1.5},
        {"cost": -1.0},
        {"cost": "1"},
        {"money": 3},
        {"requests": 1, "on_spent": "x"},
    ],
)
def test_wrong_budgets_are_told(budget: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        BudgetedEngine(Waiting(), budget)
