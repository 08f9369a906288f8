"""Samplers and learners that are killed or hang in the middle of training: the run ends as if they hadn't."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.agents.executors.scaled import Fault, Faults, assert_close_runs, events_of, scaled
from tests.agents.resuming import begin, lines_of

TIMEOUTS = {"sampler_timeout_s": 20.0, "learner_timeout_s": 60.0}


def test_whoever_dies_or_hangs_is_replaced(
    saved_model: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run that meets a killed sampler, one that hangs, and a killed learner."""
    faults = Faults(
        monkeypatch,
        [
            Fault(call="rollout", number=1, role="sampler", rank=1, during="SamplerWorker.play"),
            Fault(call="rollout", number=2, role="sampler", rank=0, during="SamplerWorker.play", how=signal.SIGSTOP),
            Fault(call="update", number=5, role="learner", rank=1, during="LearnerWorker.update"),
        ],
    )
    begin(tmp_path, "hit", scaled(saved_model, scale=TIMEOUTS))
    assert [(role, rank) for role, rank, _ in faults.struck] == [("sampler", 1), ("sampler", 0), ("learner", 1)]
    assert events_of(tmp_path / "hit") == [("sampler_replaced", 1), ("sampler_replaced", 2), ("learners_restarted", 5)]
    assert_close_runs(undisturbed, tmp_path / "hit")


@pytest.mark.slow
def test_learners_begin_again_wherever_one_is_lost(
    saved_model: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is a checkpoint, before a regular one, while one is saved; the first of them; one that hangs."""
    faults = Faults(
        monkeypatch,
        [
            Fault(call="save_state", number=0, role="learner", rank=1, during="LearnerWorker.save"),
            Fault(call="update", number=1, role="learner", rank=0, during="LearnerWorker.update"),
            Fault(call="save_state", number=2, role="learner", rank=1, during="LearnerWorker.save"),
            Fault(call="save_state", number=4, role="learner", rank=0, during="LearnerWorker.save"),
            Fault(call="update", number=12, role="learner", rank=1, during="LearnerWorker.update", how=signal.SIGSTOP),
        ],
    )
    begin(tmp_path, "hit", scaled(saved_model, scale=TIMEOUTS))
    assert [(role, rank) for role, rank, _ in faults.struck] == [("learner", rank) for rank in (1, 0, 1, 0, 1)]
    restarted = "learners_restarted"
    # Struck as the beginning is saved; saved, steps 0, 1, struck; 0, 1, 2, struck as they are saved; 0, 1, 2, saved,
    # 3, 4, 5, struck as they are saved; 3, 4, struck.
    assert events_of(tmp_path / "hit") == [(restarted, step) for step in (0, 1, 3, 6, 4)]
    assert_close_runs(undisturbed, tmp_path / "hit")
    assert not [path.name for path in (tmp_path / "hit" / "checkpoints").iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("staleness", [1, 2])
def test_faults_while_steps_are_played_ahead(
    staleness: int, saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = scaled(
        saved_model,
        training={"total_steps": 6, "old_logprobs": "recomputed", "importance_cap": 2.0},
        scale={"max_staleness": staleness, **TIMEOUTS},
    )
    begin(tmp_path, "whole", settings)
    with monkeypatch.context() as patch:
        faults = Faults(patch, [Fault(call="rollout", number=2, role="sampler", rank=1, during="SamplerWorker.play")])
        begin(tmp_path, "sampler", settings)
    assert len(faults.struck) == 1
    assert [kind for kind, _ in events_of(tmp_path / "sampler")] == ["sampler_replaced"]
    assert_close_runs(tmp_path / "whole", tmp_path / "sampler")
    steps = [min(step, staleness) for step in range(6)]
    assert [line["metrics"]["staleness"] for line in lines_of(tmp_path / "whole" / "metrics.jsonl")] == steps
    with monkeypatch.context() as patch:
        faults = Faults(patch, [Fault(call="update", number=4, role="learner", rank=1, during="LearnerWorker.update")])
        begin(tmp_path, "learner", settings)
    assert len(faults.struck) == 1
    assert events_of(tmp_path / "learner") == [("learners_restarted", 4)]
    lines = lines_of(tmp_path / "learner" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(6))
    assert sum(line["metrics"]["num_updates"] for line in lines) == 6
    # From the checkpoint after step 2 on, as at the start, there are no older weights to play with.
    again = [min(step, staleness) for step in range(3)]
    assert [line["metrics"]["staleness"] for line in lines] == again + again
