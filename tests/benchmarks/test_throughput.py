from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.throughput import _bytes_per_env


def test_the_command_prints_a_table_and_writes_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record.json"
    assert main(["throughput", "--num-envs", "512", "--repeats", "1", "--json", str(file)]) == 0
    assert "| 512 |" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert record["schema"] == "zerosearch.throughput/1"
    assert record["rows"][0]["num_envs"] == 512
    assert record["rows"][0]["step_us"] > 0


def test_an_environment_costs_little_memory_beyond_its_text() -> None:
    # The questions' facts and the engine's tables are shared, so a thousand environments spread what is left of them.
    assert _bytes_per_env(1024, seed=0) <= 10_000
