from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray.rllib")

EXAMPLE = Path(__file__).parents[2] / "examples" / "rllib_ppo.py"


def run(*flags: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """From another folder and without PYTHONPATH, as somebody may who has just cloned it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(EXAMPLE), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment | {"OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize(
    "flags", [["--noise", "2"], ["--iterations", "0"], ["--seed", "-1"], ["--json", "no/such/file"]]
)
def test_wrong_flags_are_told_before_ray_starts(flags: list[str], tmp_path: Path) -> None:
    done = run(*flags, cwd=tmp_path)
    assert done.returncode == 2
    assert flags[0] in done.stderr


@pytest.mark.slow
def test_it_runs_trains_and_writes_its_record(tmp_path: Path) -> None:
    done = run("--smoke", "--json", "record.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "record.json").read_text())
    assert set(record["results"]) == {"uniform", "one search", "by hand", "PPO"}
    assert all(found["n"] == 64 for found in record["results"].values())
    assert len(record["curve"]) == 2
    assert "64 test questions" in done.stdout


@pytest.mark.slow
def test_ppo_learns_more_than_the_baselines_know(tmp_path: Path) -> None:
    done = run("--iterations", "15", "--json", "record.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "record.json").read_text())["results"]
    low = results["PPO"]["exact_match_ci"][0]
    assert low > results["one search"]["exact_match_ci"][1]
    assert low > results["uniform"]["exact_match_ci"][1]
    assert results["PPO"]["hops_2"]["exact_match"] > 0.1 > results["one search"]["hops_2"]["exact_match"]
