"""REINFORCE with a baseline: each episode pushed by how much better it did than expected.

Source: Williams (1992); the leave-one-out baseline is RLOO's (arXiv 2402.14740); in ZeroSearch (arXiv 2505.04588) one
of its three algorithms. Where this differs:

- There is a baseline by default (`baseline="leave_one_out"`); ZeroSearch's code has none ("none"), so with rewards of 0
  and 1 it never pushes anything down.
- Retrieved tokens and the prompt are not in the loss, nor in a return, nor in the whitening.
- One update a rollout (`surrogate="plain"`), as the gradient is right only for the weights that wrote the tokens.
  ZeroSearch takes several with PPO's clip; that is `surrogate="clipped"`.
- Each token of the batch weighs alike (`aggregation="token_mean"`); summing over tokens and averaging over episodes, as
  in the textbook, differs by the step's mean length, a number that the learning rate takes up.
- A KL penalty, if wanted, is in the loss (`kl_placement="loss"`) or taken off each token's reward ("reward").
- REINFORCE++ (arXiv 2501.03262) is `baseline="none"`, `whiten=true` (over all policy tokens of the step),
  `kl_placement="reward"` and `surrogate="clipped"`: A_t = whitened(R - β·(sum of the KL from t on)). Its variant with a
  baseline is `baseline="group_mean"`, then `whiten=true`, and the KL in the loss (`kl_placement="loss"`,
  `kl_estimator="k2"`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch

from agents.accumulation import Example
from agents.advantages import Baseline, baselines, returns_to_go, whiten
from agents.algorithm import (
    Algorithm,
    KlPlacement,
    PolicyLoss,
    Surrogate,
    TrainingSettings,
    check_choices,
    rewards_of,
)
from agents.executors.base import Executor
from agents.trajectory import Trajectory
from zs_env.curriculum import check_probability
from zs_env.errors import ConfigError
from zs_env.types import QuestionSource

__all__ = ["Reinforce", "ReinforceSettings"]


_OF_A_GROUP = ("leave_one_out", "group_mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceSettings:
    """[reinforce]: what is REINFORCE's own.

    Attributes:
        baseline: See `advantages.Baseline`.
        surrogate: See `algorithm.Surrogate`.
        gamma: What the next token's return counts, in [0, 1].
        whiten: Whether advantages are scaled to mean 0 and standard deviation 1 over the step.
        kl_placement: See `algorithm.KlPlacement`.
    """

    baseline: Baseline = "leave_one_out"
    surrogate: Surrogate = "plain"
    gamma: float = 1.0
    whiten: bool = False
    kl_placement: KlPlacement = "loss"

    def __post_init__(self) -> None:
        check_choices(
            self, baseline=get_args(Baseline), surrogate=get_args(Surrogate), kl_placement=get_args(KlPlacement)
        )
        check_probability("gamma", self.gamma)

    def check(self, training: TrainingSettings) -> None:
        """Refuse common settings that don't go with these."""
        if self.baseline in _OF_A_GROUP and training.group_size < 2:
            raise ConfigError(
                f"baseline={self.baseline!r} needs a group_size of at least 2; got {training.group_size}. Or choose "
                "baseline='batch_mean'."
            )
        if self.surrogate == "plain" and training.importance != "token":
            raise ConfigError(
                f"importance={training.importance!r} is of the ratio, and surrogate='plain' has none. Choose "
                "surrogate='clipped', or importance='token'."
            )
        updates = training.num_minibatches * training.num_epochs
        if self.surrogate == "plain" and updates > 1:
            raise ConfigError(
                f"surrogate='plain' is right for one update a rollout; num_minibatches={training.num_minibatches} × "
                f"num_epochs={training.num_epochs} makes {updates}. Choose 1 × 1, or surrogate='clipped'."
            )


class Reinforce(Algorithm):
    """See the module, and `Algorithm` for the other arguments.

    Args:
        settings: REINFORCE's own settings.
    """

    def __init__(
        self,
        executor: Executor,
        questions: QuestionSource,
        training: TrainingSettings,
        settings: ReinforceSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__(executor, questions, training, **options)
        self.settings = settings or ReinforceSettings()
        self.settings.check(training)
        self.loss = PolicyLoss.of(training, surrogate=self.settings.surrogate, kl_placement=self.settings.kl_placement)

    def learn(self, step: int, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Ask the reference, take the baseline off the returns, update."""
        examples = [Example(trajectory) for trajectory in self._with_others(trajectories)]
        if self.training.kl_coef and examples:
            examples = self.executor.with_reference(examples)
        examples, metrics = self.with_old_logprobs(examples)
        examples = self._with_advantages(examples)
        for minibatch in self.passes(examples):
            self.update_policy(step, minibatch, self.loss)
        return metrics | {"num_examples": len(examples)}

    def _with_others(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """All of them; of those without another in their group, none where the baseline is made of a group."""
        if self.settings.baseline not in _OF_A_GROUP:
            return list(trajectories)
        sizes = Counter(trajectory.group for trajectory in trajectories)
        return [trajectory for trajectory in trajectories if sizes[trajectory.group] > 1]

    def _with_advantages(self, examples: Sequence[Example]) -> list[Example]:
        """Return to go of each token, less the episode's baseline."""
        rewards = [self.reward_of(example.trajectory) for example in examples]
        expected = baselines(
            torch.tensor(rewards, dtype=torch.float64),
            torch.tensor([example.trajectory.group for example in examples]),
            self.settings.baseline,
        )
        kl_coef = self.training.kl_coef if self.settings.kl_placement == "reward" else 0.0
        advantages = [
            returns_to_go(rewards_of(example, reward, kl_coef), gamma=self.settings.gamma) - baseline
            for example, reward, baseline in zip(examples, rewards, expected, strict=True)
        ]
        if self.settings.whiten:
            advantages = whiten(advantages)
        return [example.with_(advantages=one) for example, one in zip(examples, advantages, strict=True)]
