"""Whole sweeps with Ray, by the command, as a user starts and kills them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.checkpoints import Checkpoints, read_state
from tests.agents.resuming import assert_equal_runs, metrics_of

pytest.importorskip("ray.tune")
pytestmark = pytest.mark.slow

FILE = """
extends = "quickstart"

[sweep]
num_samples = 2
scheduler = "none"
cpus_per_trial = 0.5
max_concurrent = 1

[space]
"optimizer.learning_rate" = { loguniform = [1e-5, 1e-3] }

[run]
checkpoint_every = 1
workers = 1

[training]
total_steps = 4
questions_per_step = 2
group_size = 2

[optimizer]
warmup_steps = 1

[evaluation]
limit = 4
noise = [0.5]
"""


def start(file: Path, runs: Path, *flags: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "agents", "sweep", str(file), "--runs", str(runs), *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, told = process.communicate(timeout=600)
    assert process.returncode == code, told
    return out, told


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 400
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def results_of(runs: Path) -> list[dict[str, Any]]:
    record = json.loads((runs / "sweep" / "results.json").read_text())
    trials: list[dict[str, Any]] = sorted(record["trials"], key=lambda trial: str(trial["run"]))
    return trials


def num_lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_a_sweep_whose_driver_is_killed_goes_on_to_the_same_results(tmp_path: Path) -> None:
    """SIGKILL while the first trial trains and again while the second does: nothing is run twice, nothing is lost."""
    file, killed = tmp_path / "sweep.toml", tmp_path / "killed"
    file.write_text(FILE)
    finish(start(file, tmp_path / "whole"))
    first, second = (killed / "sweep" / f"trial_0000{i}" for i in range(2))

    process = start(file, killed)
    wait_for(process, lambda: num_lines(first / "metrics.jsonl") >= 2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (first / "summary.json").exists()

    process = start(file, killed, "--resume")
    wait_for(process, lambda: num_lines(second / "metrics.jsonl") >= 2)
    finished = (first / "summary.json").stat().st_mtime_ns
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    _, told = finish(start(file, killed, "--resume"))
    assert "Going on with the sweep" in told
    assert (first / "summary.json").stat().st_mtime_ns == finished
    for run in ("trial_00000", "trial_00001"):
        assert_equal_runs(tmp_path / "whole" / "sweep" / run, killed / "sweep" / run)
    timeless = [
        [
            {name: trial[name] for name in ("run", "status", "steps", "settings", "exact_match", "after")}
            for trial in found
        ]
        for found in (results_of(tmp_path / "whole"), results_of(killed))
    ]
    assert timeless[0] == timeless[1]
    assert [trial["status"] for trial in timeless[0]] == ["finished", "finished"]

    found = results_of(killed)
    finish(start(file, killed, "--resume"))  # there is nothing to go on with: it says again what was found
    assert (first / "summary.json").stat().st_mtime_ns == finished
    assert results_of(killed) == found


def test_asha_stops_what_is_behind_and_leaves_whole_runs(tmp_path: Path) -> None:
    """Trials are compared by their learning rate, so that it is known which is behind at the first rung."""
    file = tmp_path / "sweep.toml"
    asha = FILE.replace('"none"', '"asha"\ngrace_steps = 1\nmetric = "learning_rate"').replace(
        "loguniform = [1e-5, 1e-3]", "grid = [1e-3, 1e-5]"
    )
    file.write_text(asha.replace("num_samples = 2", "num_samples = 1"))
    out, told = finish(start(file, tmp_path))
    better, worse = results_of(tmp_path)
    assert (better["status"], better["steps"]) == ("finished", 4)
    assert (worse["status"], worse["steps"]) == ("stopped early", 1)
    assert "of 8 without stopping early" in out
    run = tmp_path / "sweep" / worse["run"]
    newest = Checkpoints(run).newest
    assert newest is not None
    assert read_state(newest)["step"] == 1
    assert len(metrics_of(run)) == 1
    assert not [name for name in os.listdir(run / "checkpoints") if name.startswith(".")]
    assert "stopped early after 1 of 4 steps" in told


def test_each_draw_meets_all_of_the_grid(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    seeds = FILE.replace("[run]", '"run.seed" = { grid = [3, 4] }\n\n[run]').replace(
        "total_steps = 4", "total_steps = 1"
    )
    file.write_text(seeds.replace("warmup_steps = 1", "warmup_steps = 0"))
    finish(start(file, tmp_path))
    drawn: dict[int, set[float]] = {3: set(), 4: set()}
    for trial in results_of(tmp_path):
        drawn[trial["settings"]["run.seed"]].add(trial["settings"]["optimizer.learning_rate"])
    assert drawn[3] == drawn[4]
    assert len(drawn[3]) == 2


def test_a_sweep_all_of_whose_trials_fail_fails(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    nothing = FILE.replace("[evaluation]", '[model]\nsource = "no/such/model"\n\n[evaluation]')
    file.write_text(nothing.replace("num_samples = 2", "num_samples = 1"))
    _, told = finish(start(file, tmp_path), code=2)
    assert "All trials of the sweep" in told
    assert results_of(tmp_path)[0]["status"] == "failed"


def test_ctrl_c_leaves_a_sweep_that_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(FILE.replace("num_samples = 2", "num_samples = 1").replace("total_steps = 4", "total_steps = 60"))
    first = tmp_path / "sweep" / "trial_00000"
    process = start(file, tmp_path)
    wait_for(process, lambda: num_lines(first / "metrics.jsonl") >= 2)
    _, told = finish(start(file, tmp_path, "--resume"), code=2)
    assert "is being written by another process" in told
    process.send_signal(signal.SIGINT)
    _, told = finish(process, code=130)
    assert "Go on with it by --resume" in told
    (trial,) = results_of(tmp_path)
    assert (trial["run"], trial["status"]) == ("trial_00000", "unfinished")
    assert not (first / "summary.json").exists()
    finish(start(file, tmp_path, "--resume"))
    (trial,) = results_of(tmp_path)
    assert (trial["status"], trial["steps"]) == ("finished", 60)


def test_a_metric_that_these_runs_lack_ends_the_sweep_with_an_error(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(FILE.replace("num_samples = 2", 'num_samples = 2\nmetric = "value_loss"'))
    _, told = finish(start(file, tmp_path), code=2)
    assert "no metric 'value_loss': it has" in told
    assert "reward_mean" in told
