"""PPO: proximal policy optimization with a critic, over the policy's own tokens.

Source: PPO (arXiv 1707.06347) with generalized advantage estimation (arXiv 1506.02438); in ZeroSearch
(arXiv 2505.04588) one of its three algorithms. Where this differs:

- Values, advantages, whitening and both losses are over the policy's own tokens alone. In ZeroSearch's and Search-R1's
  code retrieved tokens take part in all of them.
- The critic has a trunk of its own, copied from the policy, and a head that begins at 0 (ZeroSearch: random).
- λ = 1 and γ = 1 by default, as in ZeroSearch: with one reward at the end, advantage = return - value.
- The old log-probs of the ratio are those that the tokens were *sampled* with, not recomputed
  (`old_logprobs="recomputed"` recomputes them).
- An episode that is out of turns or tokens has ended, with its reward; nothing is bootstrapped.
- A KL penalty, if wanted, is taken off each token's reward (`kl_placement="reward"`, as in InstructGPT and ZeroSearch's
  PPO) or is in the loss ("loss").
- The clip is wider above than below (0.28 and 0.2, from DAPO); the paper has one ε.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch

from agents.accumulation import Example, TokenLoss
from agents.advantages import generalized_advantages, whiten
from agents.algorithm import Algorithm, KlPlacement, PolicyLoss, TrainingSettings, check_choices, rewards_of
from agents.critic import ValueTokens
from agents.executors.base import Executor
from agents.losses import clipped_value_loss
from agents.optimization import OptimizerSettings
from agents.trajectory import Trajectory
from zs_env.curriculum import check_probability, check_whole
from zs_env.errors import ConfigError
from zs_env.types import QuestionSource

__all__ = ["CriticSettings", "Ppo", "PpoSettings", "ValueLoss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoSettings:
    """[ppo]: what is PPO's own.

    Attributes:
        gamma: What the next token's value counts, in [0, 1].
        lam: λ of generalized advantage estimation, in [0, 1].
        whiten: Whether advantages are scaled to mean 0 and standard deviation 1 over the step.
        value_clip: How far a value may move in a step (see `losses.clipped_value_loss`); 0 for no clip.
        value_warmup_steps: Training steps at the start in which the critic learns and the policy doesn't.
        kl_placement: See `algorithm.KlPlacement`.
    """

    gamma: float = 1.0
    lam: float = 1.0
    whiten: bool = True
    value_clip: float = 0.5
    value_warmup_steps: int = 0
    kl_placement: KlPlacement = "reward"

    def __post_init__(self) -> None:
        check_probability("gamma", self.gamma)
        check_probability("lam", self.lam)
        check_whole("value_warmup_steps", self.value_warmup_steps, least=0)
        check_choices(self, kl_placement=get_args(KlPlacement))
        if not 0 <= self.value_clip < float("inf"):
            raise ConfigError(f"value_clip must be a finite number of at least 0; got {self.value_clip!r}.")

    def check(self, training: TrainingSettings) -> None:
        """Refuse common settings that don't go with these."""
        if 0 < training.total_steps <= self.value_warmup_steps:
            raise ConfigError(
                f"value_warmup_steps={self.value_warmup_steps} must be below total_steps={training.total_steps}: the "
                "policy would never learn."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticSettings(OptimizerSettings):
    """[critic]: the critic's optimizer; see `OptimizerSettings`.

    Attributes:
        learning_rate: Ten times the policy's default, as in ZeroSearch.
    """

    learning_rate: float = 1e-5


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """The critic's loss of a policy token: see `losses.clipped_value_loss`.

    Attributes:
        clip: How far a value may move in a step; 0 for no clip.
        constant_tokens: See `PolicyLoss`.
    """

    clip: float
    constant_tokens: int = 1

    def __call__(self, tokens: ValueTokens) -> TokenLoss:
        """See `ValueLoss`."""
        result = clipped_value_loss(tokens.values, tokens.old_values, tokens.returns, clip=self.clip or None)
        loss = result.loss if self.constant_tokens == 1 else result.loss / self.constant_tokens
        return TokenLoss(loss, {"clip_fraction": result.clipped.float()})


class Ppo(Algorithm):
    """See the module, and `Algorithm` for the other arguments.

    Args:
        settings: PPO's own settings.
        critic: For the critic's learning rate.
    """

    def __init__(
        self,
        executor: Executor,
        questions: QuestionSource,
        training: TrainingSettings,
        settings: PpoSettings | None = None,
        *,
        critic: CriticSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__(executor, questions, training, **options)
        self.settings = settings or PpoSettings()
        self.settings.check(training)
        self.critic = critic or CriticSettings()
        self.loss = PolicyLoss.of(training, kl_placement=self.settings.kl_placement)
        self.value_loss = ValueLoss(self.settings.value_clip, training.constant_tokens or 1)

    def learn(self, step: int, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Ask the reference and the critic, work out advantages, update both."""
        examples = [Example(trajectory) for trajectory in trajectories]
        if not examples:
            return {"num_examples": 0}
        if self.training.kl_coef:
            examples = self.executor.with_reference(examples)
        examples = self.executor.with_values(examples)
        examples, mismatch = self.with_old_logprobs(examples)
        examples, metrics = self._with_advantages(examples)
        metrics |= mismatch
        critic_rate, updates = self.critic.rate_at(step, self.training.total_steps), []
        for minibatch in self.passes(examples):
            updates.append(
                self.executor.update_critic(
                    minibatch, self.value_loss, aggregation=self.training.aggregation, learning_rate=critic_rate
                )
            )
            if step >= self.settings.value_warmup_steps:
                self.update_policy(step, minibatch, self.loss)
        for name in ("loss", "grad_norm", "clip_fraction"):
            metrics[f"value_{name}"] = sum(update[name] for update in updates) / len(updates)
        return metrics | {"num_examples": len(examples), "critic_learning_rate": critic_rate}

    def _with_advantages(self, examples: Sequence[Example]) -> tuple[list[Example], dict[str, float]]:
        """Advantages by GAE, whitened if wanted, and the critic's targets, which never are."""
        kl_coef = self.training.kl_coef if self.settings.kl_placement == "reward" else 0.0
        advantages, targets = [], []
        for example in examples:
            assert example.values is not None
            gained = generalized_advantages(
                rewards_of(example, self.reward_of(example.trajectory), kl_coef),
                example.values,
                gamma=self.settings.gamma,
                lam=self.settings.lam,
            )
            advantages.append(gained)
            targets.append(gained + example.values)
        error, target = torch.cat(advantages), torch.cat(targets)
        # Targets that differ by less than this differ by rounding alone.
        rounding = 1e-6 * float(torch.cat([torch.zeros(1), target, error - target]).abs().max())
        spread = float(target.std(unbiased=False))
        metrics = {
            "value_mean": float((target - error).mean()),
            "return_mean": float(target.mean()),
            "explained_variance": 1.0 - float(error.var(unbiased=False)) / spread**2 if spread > rounding else 0.0,
        }
        if self.settings.whiten:
            advantages = whiten(advantages)
        known = [
            example.with_(advantages=gained, returns=wanted)
            for example, gained, wanted in zip(examples, advantages, targets, strict=True)
        ]
        return known, metrics
