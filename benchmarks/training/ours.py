"""Our training step: `agents` as a run uses it, with a sampler that keeps every turn to its length."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from agents.assembly import load_model, make_algorithm, make_executor
from agents.config import TrainConfig, load_config
from agents.samplers.base import (
    ConversationKey,
    Generation,
    GenerationRequest,
    RememberingSampler,
    Sampler,
    SamplingSettings,
)
from agents.samplers.transformers import TransformersSampler
from agents.trajectory import Trajectory
from benchmarks.training.memory import memory_mb, reset_peak, wait
from benchmarks.training.steps import Job, Step, Turns
from benchmarks.training.workload import PROMPT, Lengths, Workload
from zs_env.questions import QuestionList
from zs_env.types import Question, SearchRequest, SearchResult

__all__ = ["FixedLengthSampler", "WorkloadEngine", "settings_of", "take_steps"]

_RIGHT, _WRONG = "right", "wrong"


def settings_of(job: Job, sections: dict[str, Any]) -> TrainConfig:
    """A run's settings: what the workload asks for, and an arm's sections over it."""
    scenario = job.scenario
    settings: dict[str, dict[str, Any]] = {
        "run": {"seed": job.seed, "device": job.device},
        "model": {"source": str(job.model)},
        "search": {"topk": 1},
        "episode": {"max_turns": scenario.turns, "prompt": PROMPT, "reward": "em"},
        "rollout": {"max_new_tokens": scenario.policy_tokens, "max_episode_tokens": scenario.episode_tokens},
        "training": {
            "total_steps": 1_000_000,
            "questions_per_step": scenario.groups,
            "group_size": scenario.group_size,
        },
    }
    for section, values in sections.items():
        settings[section] = settings.get(section, {}) | values
    return load_config(settings, origin="our arm")


def take_steps(job: Job, settings: dict[str, Any], turns: Turns) -> None:
    """Train with GRPO, a step at a time; see `steps.TakeSteps`."""
    sections = dict(settings)
    sampler_options = sections.pop("sampler", {})
    config = settings_of(job, sections)
    sampler_options = config.sampler_options | sampler_options
    policy = load_model(config, str(job.model))
    workload = Workload(job.scenario, policy.codec, seed=job.seed)
    executor: Any = make_executor(config, policy, WorkloadEngine(workload))
    # Nothing may end a turn before its length does: no stop string, no end-of-turn token.
    sampling = SamplingSettings(temperature=config.sampling.temperature, stop_strings=())
    sampler = TransformersSampler(policy.model, policy.codec, sampling, eos_ids=(), **sampler_options)
    executor.sampler = FixedLengthSampler(sampler, workload)
    questions = [
        Question(id=str(group), question=question, golden_answers=(_RIGHT,))
        for group, question in enumerate(workload.questions)
    ]
    algorithm = make_algorithm(config, executor, QuestionList(questions, name="workload", split=None))
    number, rollout_peak_mb = 0, 0.0
    learn = algorithm.learn

    def watched(step: int, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        nonlocal rollout_peak_mb
        rollout_peak_mb = memory_mb(job.device)["peak"]
        reset_peak(job.device)
        return learn(step, trajectories)

    algorithm.learn = watched  # type: ignore[method-assign]
    while turns.begin():
        taken = algorithm.step(number)
        began = time.perf_counter()
        wait(job.device)
        tail_s = time.perf_counter() - began  # of the optimizer's step
        number += 1
        policy_tokens = sum(trajectory.num_policy_tokens for trajectory in taken.trajectories)
        learned = taken.metrics["num_examples"] / len(taken.trajectories)
        lengths = Lengths(
            episodes=sum(trajectory.status == "answered" for trajectory in taken.trajectories),
            tokens=sum(trajectory.num_tokens for trajectory in taken.trajectories),
            policy_tokens=policy_tokens,
            trained_tokens=round(policy_tokens * learned),  # all episodes are of one length
        )
        seconds = {name: taken.metrics[name] for name in ("rollout_s", "update_s", "step_s")}
        seconds = {name: value + tail_s * (name != "rollout_s") for name, value in seconds.items()}
        peaks = {"rollout_peak_mb": rollout_peak_mb, "update_peak_mb": memory_mb(job.device)["peak"]}
        turns.report(Step(lengths=lengths, **seconds, **peaks))


class FixedLengthSampler:
    """A sampler whose turns all count as actions, whatever tokens they are.

    The tokens and their log-probs are the sampler's own. Only what `Episode` is told that they say is made up: a search
    in every turn but the last, and there an answer, right or wrong as the workload's rewards want it.

    Args:
        sampler: Who really samples.
        workload: Which turn is the last, and what each episode earns.
    """

    def __init__(self, sampler: Sampler, workload: Workload) -> None:
        self._sampler: Any = sampler
        self._turns = workload.scenario.turns
        self._rewards = workload.rewards
        self._taken: dict[ConversationKey, int] = {}

    @property
    def weight_version(self) -> int:
        """See `Sampler.weight_version`."""
        version: int = self._sampler.weight_version
        return version

    @weight_version.setter
    def weight_version(self, version: int) -> None:
        self._sampler.weight_version = version

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `Sampler.generate`."""
        return [
            replace(generation, text=self._say(request))
            for request, generation in zip(requests, self._sampler.generate(requests), strict=True)
        ]

    def forget(self, conversations: Collection[ConversationKey]) -> None:
        """See `RememberingSampler.forget`."""
        for key in conversations:
            self._taken.pop(key, None)
        if isinstance(self._sampler, RememberingSampler):
            self._sampler.forget(conversations)

    def _say(self, request: GenerationRequest) -> str:
        key = request.conversation
        assert key is not None, "a rollout names its conversations"
        turn = self._taken[key] = self._taken.get(key, 0) + 1
        if turn < self._turns:
            return f"<search>{turn}</search>"
        return f"<answer>{_RIGHT if self._rewards[key[-1]] else _WRONG}</answer>"


class WorkloadEngine:
    """Finds the workload's document of a question and turn, at once.

    Args:
        workload: Whose documents.
    """

    name = "workload"

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """See `SyncSearchEngine.search_now`."""
        return [
            SearchResult(
                documents=(self._workload.document(int(request.question.id), int(request.query)),), engine=self.name
            )
            for request in requests
        ]

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """See `SearchEngine.search`."""
        return self.search_now(requests)
