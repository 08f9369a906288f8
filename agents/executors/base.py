"""The seam between an algorithm and where its work runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from agents.accumulation import Example
from agents.conversation import EpisodeTask
from agents.critic import ValueLossFunction
from agents.learner import TokenLossFunction
from agents.losses import Aggregation
from agents.rollout import RolloutResult

__all__ = ["Executor"]


class Executor(Protocol):
    """Plays episodes and updates weights, here or elsewhere."""

    def rollout(self, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        """Play one episode a task with the newest weights that were published."""

    def with_reference(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples with the reference model's log-probs."""

    def with_old_logprobs(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples with the learner's log-probs; asked for once a step, before its first update."""

    def with_values(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples with the critic's values."""

    def update(
        self,
        examples: Sequence[Example],
        loss_function: TokenLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """One optimizer step; see `Learner.update`.

        Raises:
            HalfUpdatedError: It broke off while it changed the weights; any other error leaves those before.
        """

    def update_critic(
        self,
        examples: Sequence[Example],
        loss_function: ValueLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """One optimizer step of the critic; see `CriticLearner.update`.

        Raises:
            HalfUpdatedError: See `update`.
        """

    def publish(self, weight_version: int) -> None:
        """Give the learner's weights to whoever samples, under this version."""

    def sync_policy(self) -> None:
        """Bring the policy that this executor was made of up to date, where the learner has weights of its own."""

    def save_state(self, folder: Path) -> dict[str, Any]:
        """What training goes on from beside the policy's own weights: optimizers, and the critic if there is one.

        Args:
            folder: A checkpoint that is being written; what is large may go into files of its own there.

        Returns:
            The rest, of plain types and tensors.
        """

    def load_state(self, state: Mapping[str, Any], folder: Path, *, weight_version: int) -> None:
        """Take back what `save_state` gave and wrote, and sample from now on under this version.

        The policy's own weights are those of that time already. Where there is a reference model, they were put into
        the policy after this executor was made of it, so whoever keeps copies takes them from the policy now.
        """
