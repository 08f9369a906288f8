"""How far a training is, by steps and by the clock, and what the learning rate is there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from zs_env.tuning.training_settings import Schedule

__all__ = ["Pace"]


@dataclass(slots=True, kw_only=True)
class Pace:
    """The progress of a training.

    Attributes:
        total_steps: How many steps there are at most.
        budget_s: How many seconds of training there are at most; None for any.
        warmup: The share of the training in which the learning rate rises.
        schedule: How it falls.
        elapsed_s: Seconds of training up to the last step, those before a stop with them.
        steps_timed: Steps of this process that `step_s` is the mean of.
    """

    total_steps: int
    budget_s: float | None
    warmup: float
    schedule: Schedule
    elapsed_s: float = 0.0
    steps_timed: int = 0
    now: Callable[[], float] = time.monotonic
    _began: float = field(default=0.0, init=False)
    _before: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start the clock."""
        self._began, self._before = self.now(), self.elapsed_s

    def read_clock(self) -> float:
        """Seconds of training up to now."""
        return self._before + self.now() - self._began

    def tick(self, elapsed_s: float) -> None:
        """Note the end of a step."""
        self.elapsed_s = elapsed_s
        self.steps_timed += 1

    @property
    def step_s(self) -> float:
        """Seconds a step; 0 where none was timed."""
        return (self.elapsed_s - self._before) / self.steps_timed if self.steps_timed else 0.0

    @property
    def is_time_up(self) -> bool:
        """Whether another step would end behind the budget."""
        return self.budget_s is not None and self.elapsed_s + self.step_s > self.budget_s

    def progress(self, steps: float) -> float:
        """How far the training is after so many steps, 0 to 1."""
        by_clock = 0.0 if self.budget_s is None else self.elapsed_s / self.budget_s
        return min(max(steps / self.total_steps, by_clock), 1.0)

    def factor(self, step: int) -> float:
        """The learning rate of a step, counted from 0, as a share of its peak.

        Examples:
            >>> pace = Pace(total_steps=10, budget_s=None, warmup=0.1, schedule="linear")
            >>> [round(pace.factor(step), 3) for step in (0, 1, 5, 9)]
            [0.5, 0.944, 0.5, 0.056]
        """
        progress = self.progress(step + 0.5)
        if progress < self.warmup:
            return progress / self.warmup
        if self.schedule == "constant":
            return 1.0
        past = (progress - self.warmup) / (1 - self.warmup)
        return 1 - past if self.schedule == "linear" else 0.5 + 0.5 * math.cos(math.pi * past)
