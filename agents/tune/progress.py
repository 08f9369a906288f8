"""What a sweep tells while it goes on, and when it gives up. This file imports ray."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ray import tune

from agents.tune.trial import NO_METRIC

__all__ = ["StopsWithoutMetric", "Tells", "name_of"]


class Tells(tune.Callback):
    """Says a line when a trial begins, ends or fails.

    Args:
        say: Is told.
        metric: What trials are compared by.
        total: Training steps of a trial that isn't stopped.
    """

    def __init__(self, say: Callable[[str], None], metric: str, total: int) -> None:
        self._say, self._metric, self._total = say, metric, total

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps its callbacks, and `say` may be anything; of a sweep that goes on, standard error is told."""
        return {"_say": _tell, "_metric": self._metric, "_total": self._total}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial begins, or goes on."""
        settings = ", ".join(f"{name} = {_shown(value)}" for name, value in trial.config.items())
        self._say(f"{name_of(trial)} begins: {settings}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial has ended, or was stopped."""
        result = trial.last_result or {}
        status = "stopped early" if result.get("status") == "training" else result.get("status")
        value = result.get(self._metric)
        self._say(
            f"{name_of(trial)} {status} after {result.get('steps', 0)} of {self._total} steps"
            + (f", {self._metric} {value:.3f}" if isinstance(value, float) else "")
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial has failed."""
        self._say(f"{name_of(trial)} failed; the others go on. What it said is in {trial.error_file}.")


class StopsWithoutMetric(tune.Stopper):
    """Ends the sweep if training steps don't have what trials are compared by."""

    def __init__(self) -> None:
        self._gives_up = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial is to end."""
        self._gives_up = self._gives_up or result.get("status") == NO_METRIC
        return self._gives_up

    def stop_all(self) -> bool:
        """Whether all are to end."""
        return self._gives_up


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def name_of(trial: Any) -> str:
    """The name of a trial's run."""
    return f"trial_{trial.trial_id.rpartition('_')[2]}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
