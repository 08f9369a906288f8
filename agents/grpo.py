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
- Groups whose rewards are all equal say nothing of what is better and are left out (`zero_variance="drop"`), so they
  don't thin out the token mean either. With them goes their share of a KL term or an entropy bonus; "keep" keeps it.
- An episode that failed for a reason that isn't the policy's is left out of its group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from agents.accumulation import Example
from agents.advantages import Std, group_advantages
from agents.algorithm import Algorithm, PolicyLoss, TrainingSettings, check_choices
from agents.executors.base import Executor
from agents.trajectory import Trajectory
from zs_env.errors import ConfigError
from zs_env.types import QuestionSource

__all__ = ["Grpo", "GrpoSettings", "ZeroVariance"]

ZeroVariance = Literal["drop", "keep"]
"""Whether groups whose rewards are all equal are left out, or thin out the token mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoSettings:
    """[grpo]: what is GRPO's own.

    Attributes:
        std: What advantages are divided by; see `advantages.Std`.
        zero_variance: See `ZeroVariance`.
    """

    std: Std = "sample"
    zero_variance: ZeroVariance = "drop"

    def __post_init__(self) -> None:
        check_choices(self, std=get_args(Std), zero_variance=get_args(ZeroVariance))

    def check(self, training: TrainingSettings) -> None:
        """Refuse common settings that GRPO can't work with."""
        if training.group_size < 2:
            raise ConfigError(
                f"group_size must be at least 2 for grpo, which compares the episodes of a question with each other; "
                f"got {training.group_size}. Without groups, take ppo, or reinforce with baseline='batch_mean'."
            )


class Grpo(Algorithm):
    """See the module, and `Algorithm` for the other arguments.

    Args:
        settings: GRPO's own settings.
    """

    def __init__(
        self,
        executor: Executor,
        questions: QuestionSource,
        training: TrainingSettings,
        settings: GrpoSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__(executor, questions, training, **options)
        self.settings = settings or GrpoSettings()
        self.settings.check(training)
        self.loss = PolicyLoss.of(training)

    def learn(self, step: int, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Compare within groups, ask the reference, update."""
        examples, metrics = self._compare(trajectories)
        if self.training.kl_coef and examples:
            examples = self.executor.with_reference(examples)
        for minibatch in self.passes(examples):
            self.update_policy(step, minibatch, self.loss)
        return metrics

    def _compare(self, trajectories: Sequence[Trajectory]) -> tuple[list[Example], dict[str, float]]:
        """Advantages within groups; an episode that is left alone in its group has nothing to be compared with."""
        sizes = Counter(trajectory.group for trajectory in trajectories)
        compared = [trajectory for trajectory in trajectories if sizes[trajectory.group] > 1]
        if not compared:
            return [], {"zero_variance_share": 0.0, "num_examples": 0}
        result = group_advantages(
            torch.tensor([trajectory.reward for trajectory in compared], dtype=torch.float64),
            torch.tensor([trajectory.group for trajectory in compared]),
            std=self.settings.std,
        )
        examples = [
            Example.of(trajectory, advantage)
            for trajectory, advantage, flat in zip(
                compared, result.advantages.tolist(), result.zero_variance.tolist(), strict=True
            )
            if not (flat and self.settings.zero_variance == "drop")
        ]
        share = result.num_zero_variance_groups / result.num_groups
        return examples, {"zero_variance_share": share, "num_examples": len(examples)}
