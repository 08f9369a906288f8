from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main


@pytest.mark.slow
def test_a_plan_comes_near_to_real_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record.json"
    assert main(["planning", "--steps", "1", "--json", str(file)]) == 0
    assert "| peak memory in GB |" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert record["schema"] == "zerosearch.planning/1"
    rows = {row["what"]: row for row in record["rows"]}
    for what in ("tokens of an episode", "policy tokens of an episode"):
        assert rows[what]["planned_with_lengths"] == pytest.approx(rows[what]["measured"], rel=0.02)
    for what in ("seconds of a rollout", "seconds of an update"):
        assert 0.1 < rows[what]["planned_with_lengths"] / rows[what]["measured"] < 10
