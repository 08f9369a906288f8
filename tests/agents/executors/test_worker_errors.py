"""What can't be mended by other processes ends the run at once, in its own words, and what was saved stays good."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.errors import TrainingError
from agents.executors.ray import RayExecutor
from tests.agents.executors.scaled import Fault, Faults, assert_close_runs, events_of, scaled
from tests.agents.resuming import begin, go_on
from zs_env.rewards import REWARDS

pytestmark = pytest.mark.slow


class FailsOnOneLearner:
    """A loss function that runs out of memory on the second learner alone."""

    def __init__(self, loss: Callable[..., Any]) -> None:
        self._loss = loss

    def __call__(self, tokens: Any) -> Any:
        if torch.distributed.get_rank() == 1:
            raise MemoryError("not enough memory: you tried to allocate 12 TB")
        return self._loss(tokens)


class Unloadable:
    """A reward that no other process can make anything of."""

    def __reduce__(self) -> Any:
        return (_refuse, ())

    def __call__(self, outcome: Any) -> float:
        return 0.0


def _refuse() -> None:
    raise LookupError("the reward's table is on another machine")


def test_an_error_of_one_learner_alone(
    saved_model: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other learner waits for it, as long as it may; the driver doesn't."""
    update, count = RayExecutor.update, 0

    def failing(executor: RayExecutor, examples: Any, loss: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return update(executor, examples, FailsOnOneLearner(loss) if count == 5 else loss, **options)

    began = time.monotonic()
    settings = scaled(saved_model, scale={"learner_timeout_s": 3000.0})
    with monkeypatch.context() as patch:
        patch.setattr(RayExecutor, "update", failing)
        with pytest.raises(TrainingError) as caught:
            begin(tmp_path, "hit", settings)
    assert time.monotonic() - began < 1000  # not what a hang takes
    said = str(caught.value)
    assert said.startswith("Out of memory: not enough memory: you tried to allocate 12 TB In training step 4 (of 8")
    assert "checkpoints/step-000003, after 3 steps" in said
    assert "Go on with less of it at once: python -m agents train --resume --run-name hit" in said
    assert "--micro-batch-tokens" in said
    go_on(tmp_path, "hit")
    assert_close_runs(undisturbed, tmp_path / "hit")
    assert events_of(tmp_path / "hit") == []


def test_a_sampler_that_can_not_start(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one in its place could not either."""
    monkeypatch.setitem(REWARDS, "letters", Unloadable())  # type: ignore[arg-type]
    with pytest.raises(
        TrainingError, match=r"Sampler 0 could not start: (.|\n)*the reward's table is on another machine"
    ):
        begin(tmp_path, "hit", scaled(saved_model))
    assert not (tmp_path / "hit" / "config.json").exists()


@pytest.mark.parametrize("role", ["sampler", "learner"])
def test_more_faults_than_may_be(
    role: str, saved_model: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [
        Fault(call="rollout", number=1, role="sampler", rank=0, during="SamplerWorker.play"),
        Fault(call="rollout", number=4, role="sampler", rank=0, during="SamplerWorker.play"),
        Fault(call="rollout", number=4, role="sampler", rank=1, during="SamplerWorker.play"),
    ]
    if role == "learner":
        faults = [
            Fault(call="update", number=number, role="learner", rank=0, during="LearnerWorker.update")
            for number in (1, 2)
        ]
    settings = scaled(saved_model, scale={"max_replacements": 1})
    with monkeypatch.context() as patch:
        struck = Faults(patch, faults).struck
        with pytest.raises(TrainingError, match="max_replacements allows") as caught:
            begin(tmp_path, "hit", settings)
    assert len(struck) == len(faults)
    assert "go on with: python -m agents train --resume --run-name hit" in str(caught.value)
    assert not (tmp_path / "hit" / "summary.json").exists()
    go_on(tmp_path, "hit", {"model": {"source": str(saved_model)}})
    assert_close_runs(undisturbed, tmp_path / "hit")
    happened = [("sampler_replaced", 1), ("sampler_replaced", 4)]
    assert events_of(tmp_path / "hit") == (happened if role == "sampler" else [("learners_restarted", 1)])
