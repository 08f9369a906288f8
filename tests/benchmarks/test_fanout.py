from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.fanout import SIDES, Pool, Turn


def test_a_turn_is_as_many_requests_as_episodes_all_in_flight_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "record.json"
    command = ["fanout", "--episodes", "8", "--repeats", "1", "--latency-ms", "50", "--pool", "24"]
    assert main([*command, "--json", str(file)]) == 0
    assert "| 8 | cold | vector step |" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert record["schema"] == "zerosearch.fanout/1"
    assert record["settings"]["latency_s"] == 0.05
    turns = record["turns"]
    assert [(turn["connections"], turn["side"]) for turn in turns] == [(c, s) for c in ("warm", "cold") for s in SIDES]
    for turn in turns:
        assert set(turn) == {field.name for field in fields(Turn)}
        assert turn["requests"] == [8, 8]
        assert turn["distinct"] == 8
        assert turn["failed"] == 0
        assert turn["median_s"] >= 0.05
        assert turn["connections_opened"] <= 8
        assert turn["connections_opened"] > 0 or turn["connections"] == "warm"
    assert max(turn["peak_in_flight"] for turn in turns) == 8
    for pool, made_by in zip(record["pools"], ("make_vec", "make"), strict=True):
        assert set(pool) == {field.name for field in fields(Pool)}
        assert pool["made_by"] == made_by
        assert pool["requests"] == 24
        assert pool["failed"] == 0
        assert pool["connections_opened"] <= 24
