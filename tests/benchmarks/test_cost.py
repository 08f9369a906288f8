from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.cost import PRICES, Price, break_even, compare, read_prices, searches_of_run, simulators_of_latency
from zs_env.errors import ConfigError


def price(name: str, amount: float) -> Price:
    return Price(name=name, amount=amount, kind="assumption", source="test", date="2026")


def test_costs_worked_out_by_hand() -> None:
    prices = {"api": [price("web", 5.0)], "gpu": [price("card", 2.0)], "simulator": [price("llm", 1_000.0)]}
    found = compare(130_000, prices)
    assert found["api"][0]["cost"] == 650.0  # 130 × 5
    [row] = found["simulated"]
    assert row["gpu_hours"] == 130.0  # 130,000 / 1,000
    assert row["cost"] == 260.0  # × 2
    assert row["cost_per_1000"] == 2.0
    assert found["break_even"] == [{"gpu": "card", "api": "web", "searches_per_gpu_hour": 400.0}]  # 2 / 0.005
    half = compare(130_000, prices, utilization=0.5)
    assert half["simulated"][0]["cost"] == 520.0
    assert half["break_even"][0]["searches_per_gpu_hour"] == 800.0
    assert break_even(2.0, 0.0) is None


def test_the_paper_s_own_figures_come_out() -> None:
    """About 64,000 queries cost 586.70 by SerpAPI and 70.80 on four A100s (arXiv 2505.04588)."""
    prices = read_prices()
    [serpapi] = [row for row in compare(64_000, prices)["api"] if "ZeroSearch" in row["name"]]
    assert serpapi["cost"] == pytest.approx(586.70, abs=0.05)
    paid = {"api": [], "gpu": [price("A100", 1.475)], "simulator": prices["simulator"]}
    assert compare(64_000, paid)["simulated"][0]["cost"] == pytest.approx(70.80, abs=0.05)


def test_every_price_says_where_it_is_from() -> None:
    prices = [row for rows in read_prices(PRICES).values() for row in rows]
    assert len(prices) >= 6
    assert all(row.source and row.date and row.kind in ("published", "assumption") for row in prices)


@pytest.mark.parametrize(
    "text",
    [
        "[[api]]\nname='x'\nprice_per_1000=1.0\nkind='published'\ndate='2026'",
        "[[api]]\nname='x'\nprice_per_1000='1'\nkind='published'\ndate='2026'\nsource='s'",
        "[[api]]\nname='x'\nprice_per_1000=-1\nkind='published'\ndate='2026'\nsource='s'",
        "[[api]]\nname='x'\nprice_per_1000=1\nkind='guess'\ndate='2026'\nsource='s'",
        "[[simulator]]\nname='x'\nsearches_per_gpu_hour=0\nkind='assumption'\ndate='2026'\nsource='s'",
        "[[apis]]\nname='x'",
        "[[",
    ],
)
def test_wrong_price_tables(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        read_prices(file)


def test_searches_of_a_run_are_the_mean_over_its_steps(tmp_path: Path) -> None:
    rows = [{"step": step, "metrics": {"searches_per_episode": value}} for step, value in enumerate((1.0, 2.0, 3.0))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert searches_of_run(tmp_path) == 2.0
    with pytest.raises(ConfigError):
        searches_of_run(tmp_path / "nothing")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match="--searches-per-episode"):
        searches_of_run(tmp_path)


def test_a_simulator_s_rate_is_its_best_one_by_gpu(tmp_path: Path) -> None:
    rows = [{"engine": "m", "searches_per_s": {"median": rate}} for rate in (2.0, 8.0, 6.0)]
    file = tmp_path / "latency.json"
    file.write_text(json.dumps({"version": "1", "rows": rows}))
    [found] = simulators_of_latency(file, 4)
    assert (found.name, found.amount, found.kind) == ("m", 7_200.0, "measured")  # 3600 · 8 / 4
    file.write_text("{}")
    with pytest.raises(ConfigError, match="latency"):
        simulators_of_latency(file, 1)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cost.json"
    assert main(["cost", "--searches-per-episode", "2", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "64,960 episodes × 2 searches = 129,920 searches" in out  # 203 × 64 × 5
    record = json.loads(file.read_text())
    assert record["searches"] == 129_920
    assert record["api"][0]["cost"] == pytest.approx(129.92 * 9.167)


@pytest.mark.parametrize(
    "flags",
    [
        ["--searches-per-episode", "-1"],
        ["--searches-per-episode", "nan"],
        ["--searches-per-episode", "1", "--utilization", "0"],
        ["--searches-per-episode", "1", "--gpus", "2"],
        ["--searches-per-episode", "1", "--steps", "0"],
        ["--searches-per-episode", "1", "--prices", "nowhere.toml"],
    ],
)
def test_wrong_flags(flags: list[str]) -> None:
    assert main(["cost", *flags]) == 2
