"""Small real objects that the tests of all algorithms share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from agents.accumulation import Example
from agents.conversation import EpisodeTask
from agents.rollout import RolloutResult
from agents.trajectory import TokenSegment, Trajectory


def make_trajectory(group: int, reward: float, num_policy: int, *, num_prompt: int = 6, seed: int = 0) -> Trajectory:
    generator = torch.Generator().manual_seed(seed + 100 * group + num_policy)
    draw = lambda count: tuple(torch.randint(250, (count,), generator=generator).tolist())  # noqa: E731
    first = max(num_policy // 2, 1)
    segments = [
        TokenSegment("prompt", draw(num_prompt), ""),
        TokenSegment("policy", draw(first), "", (-5.0,) * first),
        TokenSegment("environment", draw(9), ""),
    ]
    if num_policy > first:
        segments.append(TokenSegment("policy", draw(num_policy - first), "", (-5.5,) * (num_policy - first)))
    return Trajectory(
        question_id=f"q{group}",
        question="q",
        golden_answers=("a",),
        group=group,
        segments=segments,
        reward=reward,
        status="answered",
        actions=["answer"],
    )


def first_letters(outcome: Any) -> float:
    """A reward that a random model can earn: the share of its characters that come before 'n'."""
    text = "".join(outcome.actions)
    return sum(char < "n" for char in text) / max(len(text), 1)


class PlayedBefore:
    """An executor that gives trajectories made by hand and records what it should learn from."""

    def __init__(self, trajectories: list[Trajectory]) -> None:
        self.trajectories = trajectories
        self.learned: list[list[Example]] = []
        self.criticised: list[list[Example]] = []
        self.tasks: list[EpisodeTask] = []

    def rollout(self, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        self.tasks = list(tasks)
        return RolloutResult(trajectories=self.trajectories)

    def with_values(self, examples: Sequence[Example]) -> list[Example]:
        """A critic that always says 0.25."""
        return [example.with_(values=torch.full((example.trajectory.num_policy_tokens,), 0.25)) for example in examples]

    def with_reference(self, examples: Sequence[Example]) -> list[Example]:
        """A reference that gives each token the log-prob -4; make_trajectory's were sampled with -5 and -5.5."""
        return [
            example.with_(ref_logprobs=torch.full((example.trajectory.num_policy_tokens,), -4.0))
            for example in examples
        ]

    def with_old_logprobs(self, examples: Sequence[Example]) -> list[Example]:
        """A learner that gives each token the log-prob -5, so what the second segment wrote is likelier to it."""
        return [
            example.with_(old_logprobs=torch.full((example.trajectory.num_policy_tokens,), -5.0))
            for example in examples
        ]

    def update_critic(self, examples: Sequence[Example], loss_function: Any, **_: Any) -> dict[str, float]:
        self.criticised.append(list(examples))
        return {"loss": 0.0, "grad_norm": 0.0, "clip_fraction": 0.0}

    def update(self, examples: Sequence[Example], loss_function: Any, **_: Any) -> dict[str, float]:
        self.learned.append(list(examples))
        return {"loss": 0.0, "ratio_max": 1.0, "logprob_difference": 0.0}

    def publish(self, weight_version: int) -> None:
        self.version = weight_version
