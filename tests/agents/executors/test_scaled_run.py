"""Runs over several processes end as runs in one do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import agents.loop
from tests.agents.executors.driver import as_toml
from tests.agents.executors.scaled import assert_close_runs, scaled, title_of, unscaled, until
from tests.agents.resuming import begin, lines_of


def test_two_learners_and_two_samplers_end_as_one_process_does(
    saved_model: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise AssertionError("without staleness, nothing is played ahead")

    monkeypatch.setattr(agents.loop, "PlayAhead", refuse)
    begin(tmp_path, "scaled", scaled(saved_model, scale={"max_staleness": 0}))
    assert_close_runs(undisturbed, tmp_path / "scaled")
    lines = lines_of(tmp_path / "scaled" / "metrics.jsonl")
    assert {line["metrics"]["staleness"] for line in lines} == {0.0}
    summary = json.loads((tmp_path / "scaled" / "summary.json").read_text())
    workers = summary["workers"]
    assert [(one["role"], one["rank"]) for one in workers] == [
        ("driver", 0),
        ("learner", 0),
        ("learner", 1),
        ("sampler", 0),
        ("sampler", 1),
    ]
    assert workers[0]["pid"] == os.getpid()
    assert len({one["pid"] for one in workers}) == 5
    until(lambda: not any(title_of(one["pid"]) for one in workers[1:]), "they ended with the run")
    assert summary["events"] == []
    local = json.loads((undisturbed / "summary.json").read_text())
    assert local["fingerprints"]["questions"] == summary["fingerprints"]["questions"]
    assert local["before"] == summary["before"]
    assert local["after"] == summary["after"]
    assert "workers" not in local


def test_steps_are_played_ahead(saved_model: Path, tmp_path: Path) -> None:
    settings = scaled(
        saved_model,
        training={"total_steps": 4, "old_logprobs": "recomputed", "importance_cap": 2.0},
        scale={"num_learners": 1, "num_samplers": 1, "max_staleness": 1},
    )
    begin(tmp_path, "ahead", settings)
    lines = [line["metrics"] for line in lines_of(tmp_path / "ahead" / "metrics.jsonl")]
    assert [line["staleness"] for line in lines] == [0, 1, 1, 1]
    assert [line["num_updates"] for line in lines] == [1, 1, 1, 1]
    mismatches = [line["sampler_mismatch_mean"] for line in lines]
    assert mismatches[0] < 1e-4  # rounding
    assert min(mismatches[1:]) > 1e-3  # the learner has moved on since they were drawn


def test_a_run_in_one_process_never_imports_ray(saved_model: Path, tmp_path: Path) -> None:
    settings = unscaled(scaled(saved_model, episode={"reward": "format"}, training={"total_steps": 3}))
    (tmp_path / "settings.toml").write_text(as_toml(settings))
    code = (
        "import sys; from agents.cli import main; code = main(sys.argv[1:]); "
        "print(code, [name for name in sys.modules if name.partition('.')[0] == 'ray'])"
    )
    given = ["train", "--runs", str(tmp_path), "--run-name", "local", "--config", str(tmp_path / "settings.toml")]
    shown = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "0 []"
    assert (tmp_path / "local" / "summary.json").exists()
