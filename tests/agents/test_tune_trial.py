"""A trial, driven as Tune drives it, in this process and without a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray.tune")

from agents.checkpoints import Checkpoints, read_state
from agents.policy import Policy
from agents.runs import RunFolder
from agents.testing import byte_tokenizer, tiny_lfm2
from agents.tune.trial import NO_METRIC, TrainingTrial
from tests.agents.doubles import first_letters
from tests.agents.resuming import STEPS, assert_equal_runs, begin, metrics_of, sections
from zs_env.rewards import REWARDS


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARDS, "letters", first_letters)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    Policy(tiny_lfm2(), byte_tokenizer()).save(folder)
    return folder


def trial_of(
    root: Path, model: Path, config: dict[str, Any] | None = None, *, metric: str = "reward_mean", **changes: Any
) -> TrainingTrial:
    class Given(TrainingTrial):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, root=str(root), sections=sections(model, **changes), metric=metric)

    return Given({"optimizer.learning_rate": 1e-3} | (config or {}))


NAME = "trial_default"  # the id that a trial has outside of a sweep


def to_the_end(trial: TrainingTrial) -> list[dict[str, Any]]:
    results = [trial.train()]
    while not results[-1]["done"]:
        results.append(trial.train())
    trial.stop()
    return results


def test_a_trial_reports_each_step_and_then_what_was_measured(model: Path, tmp_path: Path) -> None:
    results = to_the_end(trial_of(tmp_path, model))
    assert [result["steps"] for result in results] == [*range(1, STEPS + 1), STEPS]
    assert [result["status"] for result in results] == ["training"] * STEPS + ["finished"]
    assert all(result["run"] == NAME for result in results)
    assert "after/noise_0.5/em_greedy" in results[-1]
    logged = [record["metrics"]["reward_mean"] for record in metrics_of(tmp_path / NAME)]
    assert [result["reward_mean"] for result in results[:-1]] == logged
    assert len(list((tmp_path / NAME).glob("events.out.tfevents.*"))) == 1


def test_a_trial_is_the_run_that_the_command_makes(model: Path, tmp_path: Path) -> None:
    to_the_end(trial_of(tmp_path / "sweep", model, {"training.kl_coef": 0.1}))
    begin(tmp_path, "command", sections(model, training={"kl_coef": 0.1}))
    assert_equal_runs(tmp_path / "command", tmp_path / "sweep" / NAME)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_trial_that_is_stopped_leaves_a_whole_run_and_goes_on_bit_by_bit(
    steps: int, model: Path, tmp_path: Path
) -> None:
    """Also with checkpoints less often than steps: the stop makes one."""
    trial = trial_of(tmp_path, model, run={"checkpoint_every": 2})
    for _ in range(steps):
        trial.train()
    trial.stop()
    run = tmp_path / NAME
    assert read_state(run / "checkpoint")["step"] == steps
    assert [record["step"] for record in metrics_of(run)] == list(range(steps))
    assert not [name for name in os.listdir(run / "checkpoints") if name.startswith(".")]
    assert (run / "report.html").is_file()
    assert not (run / "summary.json").exists()
    going_on = to_the_end(trial_of(tmp_path, model, run={"checkpoint_every": 2}))
    assert [result["steps"] for result in going_on] == [*range(steps + 1, STEPS + 1), STEPS]
    begin(tmp_path, "whole", sections(model, run={"checkpoint_every": 2}))
    assert_equal_runs(tmp_path / "whole", run)


def test_a_trial_that_is_stopped_before_its_first_step_ends_too(model: Path, tmp_path: Path) -> None:
    trial_of(tmp_path, model).stop()
    assert Checkpoints(tmp_path / NAME).newest is not None


def test_a_finished_trial_is_not_run_again(model: Path, tmp_path: Path) -> None:
    last = to_the_end(trial_of(tmp_path, model))[-1]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / NAME).rglob("*") if path.is_file()}
    (again,) = to_the_end(trial_of(tmp_path, model))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for key in ("steps", "status", "reward_mean", "run", "after/noise_0.5/em_greedy"):
        assert again[key] == last[key]


def test_a_trial_that_diverges_is_a_bad_trial_and_no_failure(model: Path, tmp_path: Path) -> None:
    results = to_the_end(trial_of(tmp_path, model, {"optimizer.learning_rate": 1e30}, optimizer={"warmup_steps": 0}))
    assert results[-1]["status"] == "broke off"
    assert "not applied" in results[-1]["reason"]


def test_a_metric_that_is_none_is_told_at_the_first_step(model: Path, tmp_path: Path) -> None:
    (result,) = to_the_end(trial_of(tmp_path, model, metric="value_loss"))
    assert result["status"] == NO_METRIC
    assert "reward_mean" in result["reason"]


def test_a_metric_that_one_step_lacks_is_waited_for(model: Path, tmp_path: Path) -> None:
    """Where all groups are alike nothing is learned, and the step has no loss; before or after others that have one."""
    trial = trial_of(tmp_path, model, metric="entropy")
    hand_over, real = trial._hand_over, trial._hand_over.log
    hand_over.log = lambda step, metrics: real(  # type: ignore[method-assign]
        step, metrics if step == 1 else {k: v for k, v in metrics.items() if k != "entropy"} | {"num_updates": 0.0}
    )
    results = to_the_end(trial)
    assert [result["steps"] for result in results] == [*range(1, STEPS + 1), STEPS]
    assert ["entropy" in result for result in results] == [step == 1 for step in range(STEPS)] + [True]
    assert results[-1]["entropy"] == results[1]["entropy"]


def test_a_trial_waits_for_the_process_that_was_killed(model: Path, tmp_path: Path) -> None:
    """The worker of a sweep whose driver was killed may hold its run for a moment."""
    import threading

    trial = trial_of(tmp_path, model)
    trial.train()
    trial.stop()
    other = RunFolder(NAME, root=tmp_path, resume=True)
    other.open()
    threading.Timer(1.0, other.close).start()
    assert to_the_end(trial_of(tmp_path, model))[-1]["status"] == "finished"


def test_a_folder_that_was_left_before_anything_was_in_it_is_taken(model: Path, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / ".lock").touch()
    assert to_the_end(trial_of(tmp_path, model))[-1]["status"] == "finished"
    (tmp_path / NAME / "config.json").unlink()  # killed between start.json and config.json
    assert to_the_end(trial_of(tmp_path, model))[-1]["status"] == "finished"
