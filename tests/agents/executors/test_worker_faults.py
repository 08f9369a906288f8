"""Samplers and learners that are killed or hang in the middle of training: the run ends as if they hadn't."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.agents.executors.scaled import Fault, Faults, assert_close_runs, events_of, scaled
from tests.agents.resuming import begin

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
