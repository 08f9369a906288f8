from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.latency import Load, interval_of, measure, render, run_load
from tests.zs_env.engines.around.doubles import bad, good, request
from zs_env.engines import ScriptedEngine
from zs_env.types import SearchRequest, SearchResult


class Clock:
    """Time that each search moves on by a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def answer(self, asked: SearchRequest) -> SearchResult:
        self.now += 1.0
        return bad() if asked.query == "bad" else good(asked.query)


def load_of(queries: str, concurrency: int, *, seconds: float = 100.0) -> Load:
    clock, load = Clock(), Load()
    requests = [request(query) for query in queries.split()]
    asyncio.run(run_load(ScriptedEngine(clock.answer), requests, concurrency, load, seconds=seconds, clock=clock))
    return load


def test_one_caller_waits_for_its_own_searches_alone() -> None:
    load = load_of("a b c", 1)
    assert load.latencies_s == [1.0, 1.0, 1.0]
    assert load.rates == [1.0]  # 3 searches in 3 s
    assert load.documents == 3


def test_callers_at_the_same_time_wait_for_each_other() -> None:
    """The engine serves one after the other: the first waits 1 s, the second 2 s, the third 3 s."""
    load = load_of("a b c", 3)
    assert sorted(load.latencies_s) == [1.0, 2.0, 3.0]
    assert load.rates == [1.0]


def test_failed_searches_are_counted_and_nothing_else() -> None:
    load = load_of("a bad b bad", 1)
    assert load.latencies_s == [1.0, 1.0]
    assert load.rates == [0.5]  # 2 of them in 4 s
    assert load.errors == {"down": 2}


def test_when_time_is_up_each_caller_has_made_a_search() -> None:
    load = load_of("a b c d e f g h", 2, seconds=0.0)
    assert len(load.latencies_s) == 2


def test_rows_have_every_engine_at_every_level() -> None:
    engines = {"one": ScriptedEngine("text"), "other": ScriptedEngine(fail=True)}
    rows = measure(engines, [request("a"), request("b")], levels=(1, 3), rounds=2, searches=4)
    assert [(row["engine"], row["concurrency"]) for row in rows] == [("one", 1), ("one", 3), ("other", 1), ("other", 3)]
    assert [row["searches"] for row in rows] == [8, 8, 8, 8]
    assert [row["failed"] for row in rows] == [0, 0, 8, 8]
    assert rows[3]["latency_s"]["p50"]["value"] is None
    assert rows[0]["latency_s"]["p95"]["value"] is None  # of 8 searches it would be the slowest one
    assert "| other | 1 | 8 | 8 | – | – | – |" in render(rows)
    seeds = [asked.seed for asked in engines["one"].requests[1:5]]
    assert len(set(zip(seeds, "abab", strict=True))) == 4  # each repeat draws again


def test_percentiles_have_intervals() -> None:
    values = [float(value) for value in range(1, 101)]
    median = interval_of(values, 50)
    assert median["value"] == 50.5
    low, high = median["ci"]
    assert 35 < low < 50.5 < high < 66  # ± 1.96 · √(100 · ¼) ranks around the middle, about 10
    assert interval_of([], 50) == {"value": None, "ci": None}


def test_the_command_writes_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "latency.json"
    flags = ["--concurrency", "1", "2", "--rounds", "1", "--searches", "20", "--limit", "5", "--json", str(file)]
    assert main(["latency", *flags]) == 0
    assert "| template | 2 | 20 | 0 |" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert record["schema"] == "zerosearch.latency/1"
    assert record["rows"][1]["searches_per_s"]["median"] > 0
    assert main(["latency", "--engine", "template", "--corpus", "x"]) == 2
