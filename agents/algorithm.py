"""What all algorithms share: their common settings, the tasks of a step, the policy's loss, mini-batches.

`grpo.py`, `ppo.py` and `reinforce.py` each say, from top to bottom, what is their own.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from agents.accumulation import Example, TokenLoss
from agents.advantages import overlong_penalty, token_rewards
from agents.conversation import EpisodeTask
from agents.executors.base import Executor
from agents.learner import LossTokens
from agents.losses import (
    Aggregation,
    Importance,
    KlEstimator,
    clipped_surrogate,
    kl_penalty,
    policy_gradient,
    sampler_correction,
)
from agents.metrics import rollout_metrics
from agents.optimization import OptimizerSettings
from agents.questions import NoiseSchedule, QuestionOrder
from agents.rollout import RolloutResult
from agents.trajectory import Trajectory
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError
from zs_env.types import QuestionSource

__all__ = [
    "Algorithm",
    "KlPlacement",
    "OldLogprobs",
    "PolicyLoss",
    "Surrogate",
    "TrainingSettings",
    "TrainingStep",
    "check_choices",
    "rewards_of",
    "sampler_mismatch",
]

_TRAINING_KEY = 0

Surrogate = Literal["clipped", "plain"]
"""The policy's loss: PPO's clipped surrogate, or the plain policy gradient -A·logp, which is right for one update a
rollout alone."""

KlPlacement = Literal["loss", "reward"]
"""Where the KL penalty enters: as a term of the loss (GRPO's way), or taken off each token's reward before advantages
(InstructGPT's way)."""


OldLogprobs = Literal["sampled", "recomputed"]
"""What the ratio's old log-probs are: those that the tokens were sampled with, or the learner's own, recomputed before
the step's first update."""


def check_choices(settings: object, **choices: Sequence[str]) -> None:
    """Refuse a named option that isn't one of its choices."""
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise ConfigError(f"{name} must be one of {tuple(allowed)}; got {getattr(settings, name)!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """[training]: what every algorithm has.

    Attributes:
        total_steps: Training steps.
        questions_per_step: Questions of a step.
        group_size: Episodes a question; GRPO and a leave-one-out baseline need at least 2.
        num_minibatches: Optimizer steps that a rollout's groups are split into.
        num_epochs: How often a rollout is gone through.
        clip_low: See `losses.clipped_surrogate`.
        clip_high: See `losses.clipped_surrogate`.
        aggregation: How tokens share the loss; see `losses.Aggregation`.
        constant_tokens: What `aggregation="constant"` divides by beside the number of episodes; 0 for the others.
            Dr. GRPO takes the most that an episode may write: [rollout] max_new_tokens × [episode] max_turns.
        importance: What a ratio is of; see `losses.Importance`. GSPO's own clips are 3e-4 and 4e-4.
        old_logprobs: See `OldLogprobs`.
        importance_cap: The most that a token's loss may weigh for the difference between sampler and learner; see
            `losses.sampler_correction`. 0 for no correction.
        overlong_tokens: Past so many policy tokens an episode's reward is 1 less; see `advantages.overlong_penalty`. 0
            for no limit. What is logged as reward stays the task's.
        overlong_buffer_tokens: Over how many tokens before that the penalty grows.
        kl_coef: The weight of the KL penalty; 0 for none, and no reference model is kept.
        kl_estimator: See `losses.kl_penalty`; of a penalty in the loss.
        entropy_coef: The weight of an entropy bonus.
    """

    total_steps: int = 200
    questions_per_step: int = 64
    group_size: int = 5
    num_minibatches: int = 1
    num_epochs: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.28
    aggregation: Aggregation = "token_mean"
    constant_tokens: int = 0
    importance: Importance = "token"
    old_logprobs: OldLogprobs = "sampled"
    importance_cap: float = 0.0
    overlong_tokens: int = 0
    overlong_buffer_tokens: int = 0
    kl_coef: float = 0.0
    kl_estimator: KlEstimator = "k3"
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        check_whole("total_steps", self.total_steps, least=0)
        for name in ("questions_per_step", "group_size", "num_minibatches", "num_epochs"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("constant_tokens", "overlong_tokens", "overlong_buffer_tokens"):
            check_whole(name, getattr(self, name), least=0)
        check_choices(
            self,
            aggregation=get_args(Aggregation),
            importance=get_args(Importance),
            old_logprobs=get_args(OldLogprobs),
            kl_estimator=get_args(KlEstimator),
        )
        for name in ("clip_low", "clip_high", "importance_cap", "kl_coef", "entropy_coef"):
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
        if (self.aggregation == "constant") != (self.constant_tokens > 0):
            raise ConfigError(
                "aggregation='constant' divides by constant_tokens, and no other aggregation does; got aggregation="
                f"{self.aggregation!r} and constant_tokens={self.constant_tokens}. Give both, the number being the "
                "most that an episode may write (max_new_tokens × max_turns), or leave constant_tokens at 0."
            )
        if self.importance_cap and self.old_logprobs != "recomputed":
            raise ConfigError(
                f"importance_cap={self.importance_cap} caps the learner's probability / the sampler's before the "
                f"first update, and with old_logprobs={self.old_logprobs!r} that factor is part of the clipped ratio "
                "already: it would count twice. Choose old_logprobs='recomputed', or importance_cap=0."
            )
        if self.overlong_buffer_tokens > self.overlong_tokens:
            raise ConfigError(
                f"overlong_buffer_tokens={self.overlong_buffer_tokens} is a part of overlong_tokens="
                f"{self.overlong_tokens}: give one that is at most as large."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoss:
    """The loss of a policy token: surrogate + kl_coef · KL - entropy_coef · entropy.

    A plain object of numbers, so that it can travel to wherever the learner is.

    Attributes:
        surrogate: See `Surrogate`.
        clip_low: See `losses.clipped_surrogate`.
        clip_high: See `losses.clipped_surrogate`.
        kl_coef: 0 where there is no penalty in the loss; a KL is logged wherever there is a reference.
        kl_estimator: See `losses.kl_penalty`.
        entropy_coef: The weight of the bonus.
        importance: What the clipped ratio is of; see `losses.Importance`.
        importance_cap: See `losses.sampler_correction`; of the surrogate alone. 0 for no correction.
        constant_tokens: What the whole loss is divided by: with `aggregation="constant"` the rest of its denominator,
            else 1.
    """

    surrogate: Surrogate = "clipped"
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl_coef: float = 0.0
    kl_estimator: KlEstimator = "k3"
    entropy_coef: float = 0.0
    importance: Importance = "token"
    importance_cap: float = 0.0
    constant_tokens: int = 1

    @classmethod
    def of(
        cls, training: TrainingSettings, *, surrogate: Surrogate = "clipped", kl_placement: KlPlacement = "loss"
    ) -> PolicyLoss:
        """The loss that the settings name."""
        return cls(
            surrogate=surrogate,
            clip_low=training.clip_low,
            clip_high=training.clip_high,
            kl_coef=training.kl_coef if kl_placement == "loss" else 0.0,
            kl_estimator=training.kl_estimator,
            entropy_coef=training.entropy_coef,
            importance=training.importance,
            importance_cap=training.importance_cap,
            constant_tokens=training.constant_tokens or 1,
        )

    def __call__(self, tokens: LossTokens) -> TokenLoss:
        """See `PolicyLoss`."""
        clipped = clipped_surrogate(
            tokens.logprobs,
            tokens.sampled_logprobs if tokens.old_logprobs is None else tokens.old_logprobs,
            tokens.advantages,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            importance=self.importance,
            rows=tokens.rows,
        )
        means = {
            "entropy": tokens.entropy.detach(),
            "ratio_mean": clipped.ratio,
            "logprob_difference": (tokens.logprobs.detach() - tokens.sampled_logprobs).abs(),
        }
        if self.surrogate == "clipped":
            loss = clipped.loss
            means["clip_fraction"] = clipped.clipped.float()
        else:
            loss = policy_gradient(tokens.logprobs, tokens.advantages)
        if self.importance_cap:
            assert tokens.old_logprobs is not None
            loss = loss * sampler_correction(tokens.old_logprobs, tokens.sampled_logprobs, cap=self.importance_cap)
        if tokens.ref_logprobs is not None:
            kl = kl_penalty(tokens.logprobs, tokens.ref_logprobs, self.kl_estimator)
            means["kl"] = kl.detach()
            if self.kl_coef:
                loss = loss + self.kl_coef * kl
        if self.entropy_coef:
            loss = loss - self.entropy_coef * tokens.entropy
        if self.constant_tokens != 1:
            loss = loss / self.constant_tokens
        return TokenLoss(loss, means, {"ratio_max": clipped.ratio})


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """What a training step leaves.

    Attributes:
        metrics: Name to number; `docs` define each.
        trajectories: Every episode that was played, failed ones too.
    """

    metrics: dict[str, float]
    trajectories: list[Trajectory]


class Algorithm(ABC):
    """Trains a policy, a step at a time.

    Args:
        executor: Where episodes are played and weights updated.
        questions: What is asked.
        training: What every algorithm has.
        optimizer: For the learning rate.
        noise: How noisy searches are.
        seed: The run's seed. Step n of a run depends on the seed, n and the weights alone.
    """

    def __init__(
        self,
        executor: Executor,
        questions: QuestionSource,
        training: TrainingSettings,
        *,
        optimizer: OptimizerSettings,
        noise: NoiseSchedule,
        seed: int,
    ) -> None:
        self.training = training
        self.executor = executor
        self._questions = questions
        self._order = QuestionOrder(len(questions), seed)
        self._optimizer = optimizer
        self._noise = noise
        self._updates: list[dict[str, float]] = []
        self.episodes_of: Callable[[int], RolloutResult] = self.play
        """Where a step has its episodes from: it plays them, or somebody has played them ahead."""

    @abstractmethod
    def learn(self, step: int, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Update the weights from the episodes of a step that didn't fail.

        Returns:
            What the algorithm itself measured.
        """

    def step(self, step: int) -> TrainingStep:
        """Rollout, learn, publish: training step `step`, counted from 0.

        Raises:
            RolloutError: Too many episodes failed.
            NonFiniteError: Logits, the loss or a gradient isn't finite.
        """
        began = time.perf_counter()
        rolled = self.episodes_of(step)
        rolled_at = time.perf_counter()
        self._updates = []
        learned = self.learn(step, [trajectory for trajectory in rolled.trajectories if not trajectory.failed])
        self.executor.publish(step + 1)
        ended = time.perf_counter()
        metrics = learned | rolled.metrics | rollout_metrics(rolled) | _average(self._updates)
        if self.training.overlong_tokens:
            played = [trajectory for trajectory in rolled.trajectories if not trajectory.failed]
            taken_off = sum(abs(self._overlong_penalty(trajectory)) for trajectory in played)
            metrics["overlong_penalty"] = taken_off / max(len(played), 1)
        metrics |= {
            "learning_rate": self.rate_at(step),
            "num_updates": len(self._updates),
            "rollout_s": rolled_at - began,
            "update_s": ended - rolled_at,
            "step_s": ended - began,
            "staleness": _staleness(step, rolled),
        }
        return TrainingStep(metrics, rolled.trajectories)

    def play(self, step: int) -> RolloutResult:
        """The episodes of a step: `group_size` of each of its questions, a group's number being unique in the run."""
        return self.executor.rollout(self.tasks(step, dict(enumerate(self.asked(step)))))

    def asked(self, step: int) -> list[int]:
        """Which of the source's questions a step asks."""
        return self._order.take(step, self.training.questions_per_step)

    def tasks(
        self, step: int, questions: Mapping[int, int], *, round_number: int = 0, num_rounds: int = 1
    ) -> list[EpisodeTask]:
        """The episodes of some of a step's questions.

        Args:
            step: The training step.
            questions: Place within the step, which says how noisy the searches are, to index into the source.
            round_number: Which round of the step it is. Place and round make groups and keys that no other episode of
                the run has.
            num_rounds: The most rounds of a step, the same in the whole run.
        """
        size, count = self.training.group_size, self.training.questions_per_step
        return [
            EpisodeTask(
                question=self._questions[question],
                group=(step * num_rounds + round_number) * count + place,
                key=(_TRAINING_KEY, step, (round_number * count + place) * size + member),
                noise_probability=self._noise.probability(step, place),
            )
            for place, question in questions.items()
            for member in range(size)
        ]

    def reward_of(self, trajectory: Trajectory) -> float:
        """What an episode is taught to have earned: the task's reward, less what it loses for its length."""
        return trajectory.reward + self._overlong_penalty(trajectory)

    def with_old_logprobs(self, examples: Sequence[Example]) -> tuple[list[Example], dict[str, float]]:
        """Before the step's first update: the examples, with the learner's log-probs if the settings want them, and how
        far these are from the sampler's.
        """
        if self.training.old_logprobs == "sampled" or not examples:
            return list(examples), {}
        known = self.executor.with_old_logprobs(examples)
        return known, sampler_mismatch(known, cap=self.training.importance_cap)

    def _overlong_penalty(self, trajectory: Trajectory) -> float:
        return overlong_penalty(
            trajectory.num_policy_tokens,
            max_tokens=self.training.overlong_tokens,
            buffer_tokens=self.training.overlong_buffer_tokens,
        )

    def rate_at(self, step: int) -> float:
        """The policy's learning rate in a step."""
        return self._optimizer.rate_at(step, self.training.total_steps)

    def passes(self, examples: Sequence[Example]) -> Iterator[list[Example]]:
        """Every mini-batch of every epoch: whole groups, as even as may be; none that is empty."""
        groups: dict[int, list[Example]] = {}
        for example in examples:
            groups.setdefault(example.trajectory.group, []).append(example)
        whole, count = list(groups.values()), self.training.num_minibatches
        parts = [[example for group in whole[part::count] for example in group] for part in range(count)]
        for _ in range(self.training.num_epochs):
            yield from (part for part in parts if part)

    def update_policy(self, step: int, minibatch: Sequence[Example], loss: PolicyLoss) -> None:
        """One optimizer step on the policy; its metrics are kept for the step's."""
        self._updates.append(
            self.executor.update(
                minibatch, loss, aggregation=self.training.aggregation, learning_rate=self.rate_at(step)
            )
        )


def _staleness(step: int, rolled: RolloutResult) -> float:
    """How many training steps the weights that wrote an episode lie behind those that learn from it, on average."""
    versions = [trajectory.weight_version for trajectory in rolled.trajectories if not trajectory.failed]
    return sum(step - version for version in versions) / len(versions) if versions else 0.0


def rewards_of(example: Example, reward: float, kl_coef: float) -> Tensor:
    """[n]: each policy token's reward, less what it strays from the reference, weighted by `kl_coef`.

    Args:
        example: What was done.
        reward: What the episode as a whole earned; see `Algorithm.reward_of`.
        kl_coef: What the penalty weighs.
    """
    num_tokens = example.trajectory.num_policy_tokens
    if not kl_coef:
        return token_rewards(reward, num_tokens)
    assert example.ref_logprobs is not None
    old = _sampled_logprobs(example) if example.old_logprobs is None else example.old_logprobs
    return token_rewards(reward, num_tokens, old - example.ref_logprobs, kl_coef=kl_coef)


def sampler_mismatch(examples: Sequence[Example], *, cap: float = 0.0) -> dict[str, float]:
    """How far the learner's log-probs are from the sampler's, over all policy tokens, by the weights that sampled.

    With d = logp_learner - logp_sampler of a token that the sampler drew, exp(d) - 1 - d is the k3 estimate of
    KL(sampler || learner): unbiased, never negative.

    Args:
        examples: With `old_logprobs`.
        cap: See `losses.sampler_correction`; 0 for none.

    Returns:
        `sampler_mismatch_mean`, `sampler_mismatch_max`, `sampler_kl` and, with a cap, `importance_capped_share`.
    """
    learner = torch.cat([example.old_logprobs for example in examples])  # type: ignore[misc]
    difference = learner.double() - torch.cat([_sampled_logprobs(example) for example in examples]).double()  # [N]
    if not len(difference):  # the policy may have written nothing
        difference = torch.zeros(1, dtype=torch.float64)
    metrics = {
        "sampler_mismatch_mean": float(difference.abs().mean()),
        "sampler_mismatch_max": float(difference.abs().max()),
        "sampler_kl": float((torch.expm1(difference) - difference).mean()),
    }
    if cap:
        metrics["importance_capped_share"] = float((difference.exp() > cap).double().mean())
    return metrics


def _sampled_logprobs(example: Example) -> Tensor:
    """[n]: what the policy's tokens were sampled with."""
    return torch.tensor([logprob for segment in example.trajectory.segments for logprob in segment.logprobs or ()])


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
