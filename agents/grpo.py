"""GRPO: group-relative policy optimization, with a search engine in the loop.

Source: DeepSeekMath (arXiv 2402.03300), section 4.1; in ZeroSearch (arXiv 2505.04588) as one of its three algorithms.
Where this differs from the papers:

- Retrieved tokens and the prompt are not in the loss (as in ZeroSearch): it is over the policy's own tokens alone, told
  by their provenance.
- The old log-probs of the ratio are those that the tokens were *sampled* with, not recomputed.
- Each token of the batch weighs alike (`aggregation="token_mean"`, from DAPO, arXiv 2503.14476) instead of each episode
  alike ("sequence_mean", as published).
- The clip is wider above than below (0.28 and 0.2, from DAPO); the paper has one ε.
- The standard deviation has a name ("sample" or "population"); the paper leaves it open.
- No KL term by default (`kl_coef=0`); the paper has 0.04 with the k3 estimator, ZeroSearch 0.001. In ZeroSearch's
  code the term has the wrong sign; here it pulls to the reference.
- Groups whose rewards are all equal have no gradient and are left out (`zero_variance="drop"`), so they don't thin out
  the token mean either.
- An episode that failed for a reason that isn't the policy's is left out of its group.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from agents.advantages import Std, group_advantages
from agents.conversation import EpisodeTask
from agents.executors.base import Executor
from agents.learner import Example, LossTokens, TokenLoss
from agents.losses import Aggregation, KlEstimator, clipped_surrogate, kl_penalty
from agents.metrics import rollout_metrics
from agents.optimization import OptimizerSettings
from agents.questions import NoiseSchedule, QuestionOrder
from agents.trajectory import Trajectory
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError
from zs_env.types import QuestionSource

__all__ = ["Grpo", "GrpoLoss", "GrpoSettings", "GrpoStep"]

_TRAINING_KEY = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoSettings:
    """What is GRPO's own.

    Attributes:
        total_steps: Training steps.
        questions_per_step: Questions of a step.
        group_size: Episodes a question, at least 2.
        std: What advantages are divided by; see `advantages.Std`.
        clip_low: See `losses.clipped_surrogate`.
        clip_high: See `losses.clipped_surrogate`.
        aggregation: How tokens share the loss; see `losses.Aggregation`.
        kl_coef: The weight of the KL penalty; 0 for none, and no reference model is kept.
        kl_estimator: See `losses.kl_penalty`.
        entropy_coef: The weight of an entropy bonus.
        zero_variance: Whether groups whose rewards are all equal are left out ("drop") or thin out the mean ("keep").
        num_minibatches: Optimizer steps that a rollout's groups are split into.
        num_epochs: How often a rollout is gone through.
    """

    total_steps: int = 200
    questions_per_step: int = 64
    group_size: int = 5
    std: Std = "sample"
    clip_low: float = 0.2
    clip_high: float = 0.28
    aggregation: Aggregation = "token_mean"
    kl_coef: float = 0.0
    kl_estimator: KlEstimator = "k3"
    entropy_coef: float = 0.0
    zero_variance: Literal["drop", "keep"] = "drop"
    num_minibatches: int = 1
    num_epochs: int = 1

    def __post_init__(self) -> None:
        check_whole("total_steps", self.total_steps, least=0)
        check_whole("group_size", self.group_size, least=2)
        for name in ("questions_per_step", "num_minibatches", "num_epochs"):
            check_whole(name, getattr(self, name), least=1)
        for name, choices in (
            ("std", get_args(Std)),
            ("aggregation", get_args(Aggregation)),
            ("kl_estimator", get_args(KlEstimator)),
            ("zero_variance", ("drop", "keep")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} must be one of {choices}; got {getattr(self, name)!r}.")
        for name in ("clip_low", "clip_high", "kl_coef", "entropy_coef"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be a finite number of at least 0; got {getattr(self, name)!r}.")
        if self.clip_low >= 1:
            raise ConfigError(
                f"clip_low must be below 1, or the ratio is never clipped from below; got {self.clip_low}."
            )
        if self.num_minibatches > self.questions_per_step:
            raise ConfigError(
                f"num_minibatches={self.num_minibatches} is more than questions_per_step={self.questions_per_step}: a "
                "group is never split."
            )


@dataclass(frozen=True, slots=True)
class GrpoLoss:
    """The loss of a policy token: -clipped surrogate + kl_coef · KL - entropy_coef · entropy.

    A plain object of numbers, so that it can travel to wherever the learner is.
    """

    settings: GrpoSettings

    def __call__(self, tokens: LossTokens) -> TokenLoss:
        """See `GrpoLoss`."""
        settings = self.settings
        surrogate = clipped_surrogate(
            tokens.logprobs,
            tokens.sampled_logprobs,
            tokens.advantages,
            clip_low=settings.clip_low,
            clip_high=settings.clip_high,
        )
        loss = surrogate.loss
        means = {
            "entropy": tokens.entropy.detach(),
            "clip_fraction": surrogate.clipped.float(),
            "ratio_mean": surrogate.ratio,
            "logprob_difference": (tokens.logprobs.detach() - tokens.sampled_logprobs).abs(),
        }
        if settings.kl_coef:
            assert tokens.ref_logprobs is not None
            kl = kl_penalty(tokens.logprobs, tokens.ref_logprobs, settings.kl_estimator)
            loss = loss + settings.kl_coef * kl
            means["kl"] = kl.detach()
        if settings.entropy_coef:
            loss = loss - settings.entropy_coef * tokens.entropy
        return TokenLoss(loss, means, {"ratio_max": surrogate.ratio})


@dataclass(frozen=True, slots=True)
class GrpoStep:
    """What a training step leaves.

    Attributes:
        metrics: Name to number; `docs` define each.
        trajectories: Every episode that was played, failed ones too.
    """

    metrics: dict[str, float]
    trajectories: list[Trajectory]


class Grpo:
    """Trains a policy, a step at a time.

    Args:
        executor: Where episodes are played and weights updated.
        questions: What is asked.
        settings: GRPO's own settings.
        optimizer: For the learning rate.
        noise: How noisy searches are.
        seed: The run's seed. Step n of a run depends on the seed, n and the weights alone.
    """

    def __init__(
        self,
        executor: Executor,
        questions: QuestionSource,
        settings: GrpoSettings,
        *,
        optimizer: OptimizerSettings,
        noise: NoiseSchedule,
        seed: int,
    ) -> None:
        self.settings = settings
        self._executor = executor
        self._questions = questions
        self._order = QuestionOrder(len(questions), seed)
        self._optimizer = optimizer
        self._noise = noise
        self._loss = GrpoLoss(settings)

    def step(self, step: int) -> GrpoStep:
        """Rollout, compare within groups, update, publish: training step `step`, counted from 0.

        Raises:
            RolloutError: Too many episodes failed.
            NonFiniteError: Logits, the loss or a gradient isn't finite.
        """
        began = time.perf_counter()
        rolled = self._executor.rollout(self._tasks(step))
        rolled_at = time.perf_counter()
        examples, metrics = self._compare(rolled.trajectories)
        if self.settings.kl_coef and examples:
            examples = self._executor.with_reference(examples)
        learning_rate = self._optimizer.rate_at(step, self.settings.total_steps)
        updates = [
            self._executor.update(
                minibatch, self._loss, aggregation=self.settings.aggregation, learning_rate=learning_rate
            )
            for _ in range(self.settings.num_epochs)
            for minibatch in self._minibatches(examples)
        ]
        self._executor.publish(step + 1)
        ended = time.perf_counter()
        metrics |= rollout_metrics(rolled) | _average(updates)
        metrics |= {
            "learning_rate": learning_rate,
            "num_updates": len(updates),
            "rollout_s": rolled_at - began,
            "update_s": ended - rolled_at,
            "step_s": ended - began,
        }
        return GrpoStep(metrics, rolled.trajectories)

    def _tasks(self, step: int) -> list[EpisodeTask]:
        """The episodes of a step: `group_size` of each of its questions, a group's number being unique in the run."""
        size, count = self.settings.group_size, self.settings.questions_per_step
        return [
            EpisodeTask(
                question=self._questions[question],
                group=step * count + index,
                key=(_TRAINING_KEY, step, index * size + member),
                noise_probability=self._noise.probability(step, index),
            )
            for index, question in enumerate(self._order.take(step, count))
            for member in range(size)
        ]

    def _compare(self, trajectories: Sequence[Trajectory]) -> tuple[list[Example], dict[str, float]]:
        """Advantages within groups, of the episodes that didn't fail."""
        counts: dict[int, int] = {}
        for trajectory in trajectories:
            if not trajectory.failed:
                counts[trajectory.group] = counts.get(trajectory.group, 0) + 1
        compared = [t for t in trajectories if not t.failed and counts[t.group] > 1]
        if not compared:
            return [], {"zero_variance_share": 0.0, "num_examples": 0}
        result = group_advantages(
            torch.tensor([trajectory.reward for trajectory in compared], dtype=torch.float64),
            torch.tensor([trajectory.group for trajectory in compared]),
            std=self.settings.std,
        )
        examples = [
            Example(trajectory, advantage)
            for trajectory, advantage, flat in zip(
                compared, result.advantages.tolist(), result.zero_variance.tolist(), strict=True
            )
            if not (flat and self.settings.zero_variance == "drop")
        ]
        share = result.num_zero_variance_groups / result.num_groups
        return examples, {"zero_variance_share": share, "num_examples": len(examples)}

    def _minibatches(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Examples in minibatches that hold whole groups, as even as may be; none that is empty."""
        groups: dict[int, list[Example]] = {}
        for example in examples:
            groups.setdefault(example.trajectory.group, []).append(example)
        whole, count = list(groups.values()), self.settings.num_minibatches
        parts = [[example for group in whole[part::count] for example in group] for part in range(count)]
        return [part for part in parts if part]


def _average(updates: Sequence[dict[str, float]]) -> dict[str, float]:
    """One number a metric from those of each optimizer step: the mean; the maximum of maxima; of the difference between
    sampler and learner the first, before the weights moved away.
    """
    if not updates:
        return {}
    averaged = {name: sum(update[name] for update in updates) / len(updates) for name in updates[0]}
    averaged["ratio_max"] = max(update["ratio_max"] for update in updates)
    averaged["logprob_difference"] = updates[0]["logprob_difference"]
    return averaged
