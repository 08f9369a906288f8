"""GRPO: group-relative policy optimization, with a search engine in the loop.

Source: DeepSeekMath (arXiv 2402.03300), section 4.1; in ZeroSearch (arXiv 2505.04588) as one of its three algorithms.
Where this differs from the papers:

- Retrieved tokens and the prompt are not in the loss (as in ZeroSearch): it is over the policy's own tokens alone, told
  by their provenance.
- The old log-probs of the ratio are those that the tokens were *sampled* with, not recomputed
  (`old_logprobs="recomputed"` recomputes them).
- Each token of the batch weighs alike (`aggregation="token_mean"`, from DAPO, arXiv 2503.14476) instead of each episode
  alike ("sequence_mean", as published).
- The clip is wider above than below (0.28 and 0.2, from DAPO); the paper has one ε.
- The standard deviation has a name ("sample" or "population"); the paper leaves it open.
- No KL term by default (`kl_coef=0`); the paper has 0.04 with the k3 estimator, ZeroSearch 0.001. In ZeroSearch's
  code the term has the wrong sign; here it pulls to the reference.
- Groups whose rewards are all equal say nothing of what is better and are left out (`zero_variance="drop"`), so they
  don't thin out the token mean either. With them goes their share of a KL term or an entropy bonus; "keep" keeps it.
- An episode that failed for a reason that isn't the policy's is left out of its group.

Its descendants are combinations of options:

- Dr. GRPO (arXiv 2503.20783): `std="none"`, `aggregation="constant"`, `constant_tokens`; `zero_variance="keep"` counts
  groups without variance in the denominator, as there.
- DAPO (arXiv 2503.14476): `dynamic_sampling_rounds` (section 3.2), `overlong_tokens` and `overlong_buffer_tokens`
  (equation 13), beside the clip and the token mean. Where it differs: the paper goes on until the batch is full, here
  after so many rounds the step learns from what there is; and what has to vary within a group is the reward that is
  learned from, the overlong penalty included.
- GSPO (arXiv 2507.18071): `importance="sequence"` (or "sequence_token"), `aggregation="sequence_mean"`, and clips of
  3e-4 and 4e-4.
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
from agents.conversation import EpisodeTask
from agents.errors import RolloutError
from agents.executors.base import Executor
from agents.questions import SPARE_KEY, QuestionOrder
from agents.rollout import RolloutResult
from agents.trajectory import Trajectory
from zs_env.curriculum import check_whole
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
        dynamic_sampling_rounds: How often, at most, a step replaces the groups that teach nothing by those of further
            questions; 0 for never. Each round may cost as much as the step's first.
    """

    std: Std = "sample"
    zero_variance: ZeroVariance = "drop"
    dynamic_sampling_rounds: int = 0

    def __post_init__(self) -> None:
        check_choices(self, std=get_args(Std), zero_variance=get_args(ZeroVariance))
        check_whole("dynamic_sampling_rounds", self.dynamic_sampling_rounds, least=0)
        if self.dynamic_sampling_rounds and self.zero_variance == "keep":
            raise ConfigError(
                f"dynamic_sampling_rounds={self.dynamic_sampling_rounds} replaces the groups that zero_variance='keep' "
                "would keep. Choose zero_variance='drop', or dynamic_sampling_rounds=0."
            )

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
        self._spare = QuestionOrder(len(questions), options["seed"], key=SPARE_KEY)

    def play(self, step: int) -> RolloutResult:
        """The step's episodes, and those of further questions in place of groups that teach nothing.

        Which questions these are depends on the seed, the step and what was played: they come from a shuffled order of
        their own, first those that the step hasn't asked.
        """
        num_rounds, asked = 1 + self.settings.dynamic_sampling_rounds, self.asked(step)
        if num_rounds == 1:
            return super().play(step)
        rolled = self.executor.rollout(self.tasks(step, dict(enumerate(asked)), num_rounds=num_rounds))
        played = 1
        while played < num_rounds and (places := self._places_without_a_lesson(rolled)):
            further = self._spare.take(step * (num_rounds - 1) + played - 1, self.training.questions_per_step)
            further.sort(key=asked.__contains__)  # stable: new ones first, each in its order
            chosen = dict(zip(places, further, strict=False))
            rolled = self._play_on(rolled, self.tasks(step, chosen, round_number=played, num_rounds=num_rounds))
            asked = asked + list(chosen.values())
            played += 1
        rolled.metrics |= {"num_sampling_rounds": played, "num_episodes": len(rolled.trajectories)}
        return rolled

    def _places_without_a_lesson(self, rolled: RolloutResult) -> list[int]:
        """The places of the step no group of which has two episodes with different rewards."""
        count = self.training.questions_per_step
        rewards: dict[int, set[float]] = {}
        for trajectory in rolled.trajectories:
            if not trajectory.failed:
                rewards.setdefault(trajectory.group, set()).add(self.reward_of(trajectory))
        taught = {group % count for group, found in rewards.items() if len(found) > 1}
        return [place for place in range(count) if place not in taught]

    def _play_on(self, rolled: RolloutResult, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        """What was played, and these; as a round may be of few episodes, the share that may fail is one of them all."""
        try:
            return rolled + self.executor.rollout(tasks)
        except RolloutError as error:
            if error.result is None:
                raise
            both: RolloutResult = rolled + error.result
            if both.num_failed > error.max_failure_rate * len(both.trajectories):
                raise
            return both

    def learn(self, step: int, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Compare within groups, ask the reference, update."""
        examples, metrics = self._compare(trajectories)
        if self.training.kl_coef and examples:
            examples = self.executor.with_reference(examples)
        examples, mismatch = self.with_old_logprobs(examples)
        for minibatch in self.passes(examples):
            self.update_policy(step, minibatch, self.loss)
        return metrics | mismatch

    def _compare(self, trajectories: Sequence[Trajectory]) -> tuple[list[Example], dict[str, float]]:
        """Advantages within groups; an episode that is left alone in its group has nothing to be compared with."""
        sizes = Counter(trajectory.group for trajectory in trajectories)
        compared = [trajectory for trajectory in trajectories if sizes[trajectory.group] > 1]
        if not compared:
            return [], {"zero_variance_share": 0.0, "num_examples": 0}
        result = group_advantages(
            torch.tensor([self.reward_of(trajectory) for trajectory in compared], dtype=torch.float64),
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
