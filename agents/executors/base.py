"""The seam between an algorithm and where its work runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agents.conversation import EpisodeTask
from agents.learner import Example, TokenLossFunction
from agents.losses import Aggregation
from agents.rollout import RolloutResult

__all__ = ["Executor"]


class Executor(Protocol):
    """Plays episodes and updates weights, here or elsewhere."""

    def rollout(self, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        """Play one episode a task with the newest weights that were published."""

    def with_reference(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples with the reference model's log-probs."""

    def update(
        self,
        examples: Sequence[Example],
        loss_function: TokenLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """One optimizer step; see `Learner.update`."""

    def publish(self, weight_version: int) -> None:
        """Give the learner's weights to whoever samples, under this version."""
