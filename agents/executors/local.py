"""Everything in this process: the sampler reads the learner's own weights, or has a copy that is kept up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.accumulation import Example
from agents.conversation import EpisodeTask, RolloutSettings
from agents.critic import CriticLearner, ValueLossFunction
from agents.learner import Learner, TokenLossFunction
from agents.losses import Aggregation
from agents.rollout import RolloutResult, rollout_sync
from agents.samplers.base import PublishedSampler, Sampler, SamplingSettings
from agents.samplers.weights import named_weights
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine

__all__ = ["LocalExecutor"]


class LocalExecutor:
    """Plays and learns in one process.

    Args:
        learner: Whose policy is played and trained.
        engine: Who answers searches.
        episode_settings: The rules.
        rollout_settings: The budgets.
        sampling: How tokens are drawn; must be fit for training.
        critic: The critic, for algorithms that have one.
        sampler_options: What else `TransformersSampler` takes.
        sampler: Who plays instead of a `TransformersSampler`. It draws as `sampling` says and has the policy's weights
            already; a `PublishedSampler` is given the new ones after each step.
        seed: The run's seed.

    Raises:
        ConfigError: The sampling would bias the ratio, the sampler can't be trained with, or episodes may be longer
            than the model's context.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        engine: SearchEngine,
        episode_settings: EpisodeSettings,
        rollout_settings: RolloutSettings,
        sampling: SamplingSettings,
        seed: int,
        critic: CriticLearner | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        sampling.check_for_training()
        learner.policy.check_context(rollout_settings.max_episode_tokens)
        self.learner = learner
        self.critic = critic
        why_not = getattr(sampler, "untrainable", None)
        if why_not:
            raise ConfigError(f"Training can't sample with {type(sampler).__name__}: {why_not}")
        self.sampler: Any = sampler or learner.policy.sampler(sampling, **(sampler_options or {}))
        self._engine = engine
        self._episode_settings = episode_settings
        self._rollout_settings = rollout_settings
        self._seed = seed

    def rollout(self, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        """Play one episode a task."""
        return rollout_sync(
            tasks,
            sampler=self.sampler,
            codec=self.learner.policy.codec,
            engine=self._engine,
            episode_settings=self._episode_settings,
            settings=self._rollout_settings,
            seed=self._seed,
        )

    def with_reference(self, examples: Sequence[Example]) -> list[Example]:
        """See `Learner.with_reference`."""
        return self.learner.with_reference(examples)

    def with_old_logprobs(self, examples: Sequence[Example]) -> list[Example]:
        """See `Learner.with_old_logprobs`."""
        return self.learner.with_old_logprobs(examples)

    def with_values(self, examples: Sequence[Example]) -> list[Example]:
        """See `CriticLearner.with_values`."""
        assert self.critic is not None, "the executor was made without a critic"
        return self.critic.with_values(examples)

    def update(
        self,
        examples: Sequence[Example],
        loss_function: TokenLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """See `Learner.update`."""
        return self.learner.update(examples, loss_function, aggregation=aggregation, learning_rate=learning_rate)

    def update_critic(
        self,
        examples: Sequence[Example],
        loss_function: ValueLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """See `CriticLearner.update`."""
        assert self.critic is not None, "the executor was made without a critic"
        return self.critic.update(examples, loss_function, aggregation=aggregation, learning_rate=learning_rate)

    def publish(self, weight_version: int) -> None:
        """Where the weights are shared, their version is told; a sampler with a copy is given the new ones."""
        if isinstance(self.sampler, PublishedSampler):
            self.sampler.publish_weights(named_weights(self.learner.policy.model), weight_version)
        else:
            self.sampler.weight_version = weight_version

    def close(self) -> None:
        """Let go of a sampler that has a model of its own."""
        if isinstance(self.sampler, PublishedSampler):
            self.sampler.close()

    def sync_policy(self) -> None:
        """The learner trains the policy itself."""

    def save_state(self, folder: Path) -> dict[str, Any]:
        """See `Executor.save_state`; all of it is returned."""
        return self.state_dict()

    def load_state(self, state: Mapping[str, Any], folder: Path, *, weight_version: int) -> None:
        """See `Executor.load_state`."""
        self.load_state_dict(state, weight_version=weight_version)

    def state_dict(self) -> dict[str, Any]:
        """Optimizers, and the critic if there is one."""
        state = {"learner": self.learner.state_dict()}
        return state if self.critic is None else state | {"critic": self.critic.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], *, weight_version: int) -> None:
        """Take back what `state_dict` gave."""
        self.learner.load_state_dict(state["learner"])
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
        self.publish(weight_version)
