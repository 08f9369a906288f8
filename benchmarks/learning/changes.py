"""Executors, engines and samplers that take away one thing which learning, or a learned policy, should need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agents.accumulation import Accumulator, Example
from agents.batches import Batching
from agents.codec import TextCodec
from agents.conversation import EpisodeTask
from agents.executors import LocalExecutor
from agents.rollout import RolloutResult
from agents.samplers.base import Generation, GenerationRequest, Sampler
from agents.trajectory import TokenSegment, Trajectory
from zs_env.types import SearchRequest, SearchResult, SyncSearchEngine

__all__ = ["AnswersAtOnce", "RandomQueries", "ShuffledRewards", "Unmasked"]


class _Around:
    """An executor that does what another one does, but for what a subclass changes."""

    def __init__(self, executor: LocalExecutor, *, seed: int) -> None:
        self._executor = executor
        self._seed = seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


class ShuffledRewards(_Around):
    """Gives each episode of a step the reward of another one, drawn anew each step: the same rewards, teaching nothing.

    `exact_match` and all else stay as they were, so the curves still say how good the policy is.
    """

    _num_rollouts = 0

    def rollout(self, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        """Play, then shuffle."""
        result = self._executor.rollout(tasks)
        played = [trajectory for trajectory in result.trajectories if not trajectory.failed]
        rng = np.random.default_rng((self._seed, self._num_rollouts))
        rewards = [played[index].reward for index in rng.permutation(len(played))]
        for trajectory, reward in zip(played, rewards, strict=True):
            trajectory.reward = reward
        self._num_rollouts += 1
        return result


class Unmasked(_Around):
    """Takes what the environment wrote for the policy's own words: with the mask off, both are in the loss.

    As nobody sampled those tokens, their old log-probs are the policy's own at the time of the rollout.
    """

    def rollout(self, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        """Play, then relabel."""
        result = self._executor.rollout(tasks)
        played = [trajectory for trajectory in result.trajectories if not trajectory.failed]
        for trajectory in played:
            trajectory.segments = [
                TokenSegment("policy", part.ids, part.text, part.logprobs or (0.0,) * len(part.ids))
                if part.provenance != "prompt"
                else part
                for part in trajectory.segments
            ]
        policy = self._executor.learner.policy
        accumulator = Accumulator(None, batching=Batching(max_tokens=4096), num_workers=1)
        found = accumulator.infer(
            [Example(trajectory) for trajectory in played], lambda batch: policy.token_logprobs(batch).logprobs
        )
        for trajectory, logprobs in zip(played, found, strict=True):
            _set_logprobs(trajectory, logprobs.tolist())
        return result


def _set_logprobs(trajectory: Trajectory, logprobs: list[float]) -> None:
    start, segments = 0, []
    for part in trajectory.segments:
        if part.provenance == "policy":
            segments.append(replace(part, logprobs=tuple(logprobs[start : start + len(part.ids)])))
            start += len(part.ids)
        else:
            segments.append(part)
    trajectory.segments = segments


class RandomQueries:
    """An engine that is asked something else: each query is replaced by one that was asked about another question.

    Args:
        engine: Who answers.
        queries: What is asked instead: a policy's own queries, for example.
    """

    def __init__(self, engine: SyncSearchEngine, queries: Sequence[str]) -> None:
        self.name = f"{engine.name} with random queries"
        self._engine = engine
        self._queries = sorted(set(queries))

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer other queries."""
        return self._engine.search_now([replace(request, query=self._other(request)) for request in requests])

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer other queries."""
        return self.search_now(requests)

    def _other(self, request: SearchRequest) -> str:
        index = request.seed % len(self._queries)
        if self._queries[index] == request.query:
            index = (index + 1) % len(self._queries)
        return self._queries[index]


class AnswersAtOnce:
    """A sampler whose every action is an answer: what the policy says without having read anything (closed book).

    Args:
        sampler: The policy.
        codec: Its tokenizer's codec.
    """

    def __init__(self, sampler: Sampler, codec: TextCodec) -> None:
        self._sampler = sampler
        self._codec = codec
        self._begun = codec.encode("<answer>")

    @property
    def weight_version(self) -> int:
        """The policy's."""
        return self._sampler.weight_version

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Go on from a begun answer."""
        begun = self._begun
        inner = [
            replace(
                request,
                prompt_ids=[*request.prompt_ids, *begun],
                max_new_tokens=max(request.max_new_tokens - len(begun), 1),
            )
            for request in requests
        ]
        return [
            replace(
                generation,
                ids=(*begun, *generation.ids),
                logprobs=(0.0,) * len(begun) + tuple(generation.logprobs),
                text="<answer>" + generation.text,
            )
            for generation in self._sampler.generate(inner)
        ]
