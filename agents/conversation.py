"""One episode, as token ids: what stands between `zs_env`'s text and a sampler's tokens. It never waits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.codec import TextCodec
from agents.samplers.base import Generation, GenerationRequest
from agents.trajectory import SearchRecord, TokenSegment, Trajectory
from zs_env.actions import parse_action
from zs_env.curriculum import check_probability, check_whole
from zs_env.engines.hostile import attacks_of
from zs_env.episode import Episode, EpisodeSettings, Step
from zs_env.errors import ConfigError, EngineContractError, RewardError
from zs_env.rewards import Outcome
from zs_env.types import Question, SearchRequest, SearchResult

__all__ = ["Conversation", "EpisodeTask", "RolloutSettings", "episode_generator", "is_inside_thought", "record_search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """Budgets of a rollout, and how much of it may fail.

    Attributes:
        max_new_tokens: The most tokens of one action, thought included.
        max_episode_tokens: The most tokens of an episode. The question is never cut; documents are, so that one whole
            action still fits after them, and so that a search with long documents leaves later turns at least half of
            what there is, or what two whole actions a turn take.
        max_failure_rate: The share of episodes that may fail for reasons that aren't the policy's, in [0, 1]. Past it
            the rollout raises.
    """

    max_new_tokens: int = 256
    max_episode_tokens: int = 4096
    max_failure_rate: float = 0.25

    def __post_init__(self) -> None:
        check_whole("max_new_tokens", self.max_new_tokens, least=1)
        check_whole("max_episode_tokens", self.max_episode_tokens, least=2)
        check_probability("max_failure_rate", self.max_failure_rate)
        if self.max_new_tokens >= self.max_episode_tokens:
            raise ConfigError(
                f"max_new_tokens={self.max_new_tokens} must be below max_episode_tokens={self.max_episode_tokens}: an "
                "episode holds its question and at least one action."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeTask:
    """One episode that is to be played.

    Attributes:
        question: What is asked.
        group: See `Trajectory.group`.
        key: Which episode of the run it is, for its randomness: no two of a run share it.
        noise_probability: The chance that a search asks for noisy documents.
    """

    question: Question
    group: int
    key: tuple[int, ...]
    noise_probability: float = 0.0


def episode_generator(seed: int, key: tuple[int, ...]) -> np.random.Generator:
    """The generator that an episode's noise and search seeds are drawn from."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, 0)))


def is_inside_thought(text: str) -> bool:
    """Whether a text ends inside an open `<think>`, where no action counts.

    Examples:
        >>> is_inside_thought("<think> I could <search>x</search>")
        True
        >>> is_inside_thought("<think> so </think><search></search>")
        False
    """
    # By the parser's own rules: an answer that comes next would be heard exactly if no thought is open.
    return parse_action(text + "<answer>x</answer>").kind == "invalid"


class Conversation:
    """One episode between an `Episode` and a sampler.

    `begin`, then `request` and `take` until `done`; where `take` gives a search request, `observe` its result first.

    Args:
        task: What is played.
        codec: Text to ids and back.
        episode_settings: The rules.
        settings: The budgets.
        seed: The run's seed.
    """

    def __init__(
        self,
        task: EpisodeTask,
        codec: TextCodec,
        episode_settings: EpisodeSettings,
        settings: RolloutSettings,
        seed: int,
    ) -> None:
        question = task.question
        hops = question.metadata.get("hops")
        self.trajectory = Trajectory(
            question_id=question.id,
            question=question.question,
            golden_answers=tuple(question.golden_answers),
            group=task.group,
            noise_probability=task.noise_probability,
            hops=hops if isinstance(hops, int) else None,
        )
        self.key = task.key
        self.done = False
        self.last_step: Step | None = None
        self.episode = Episode(question, episode_settings, episode_generator(seed, task.key), task.noise_probability)
        self._codec = codec
        self._settings = settings
        self._draws = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*task.key, 1)))
        self._ids: list[int] = []
        self._turn_ids: list[int] = []
        self._turn_logprobs: list[float] = []

    def begin(self) -> bool:
        """Lay down the prompt, whole.

        Returns:
            Whether the episode can be played: a prompt that doesn't fit the budget fails it.
        """
        self.last_step = self.episode.begin()
        text = self.last_step.new_text
        ids = self._codec.encode_first(text)
        if not ids or not self._leaves_room(len(ids)):
            self.fail(
                ConfigError(
                    f"The prompt of question {self.trajectory.question_id!r} has {len(ids)} tokens, and an action may "
                    f"have max_new_tokens={self._settings.max_new_tokens}: max_episode_tokens="
                    f"{self._settings.max_episode_tokens} is too small for both. A question is never cut."
                )
            )
            return False
        shown = self._codec.decode(ids) if self._codec.use_chat_template else text
        self._add(TokenSegment("prompt", tuple(ids), shown))
        return True

    def request(self) -> GenerationRequest:
        """What the sampler should continue now."""
        return GenerationRequest(
            prompt_ids=self._ids + self._turn_ids,
            seed=int(self._draws.integers(2**63)),
            max_new_tokens=self._settings.max_new_tokens - len(self._turn_ids),
            conversation=self.key,
        )

    def take(self, generation: Generation) -> SearchRequest | None:
        """Take what the policy wrote.

        Returns:
            The search that it asks for; None if the episode is done or the policy should go on.
        """
        if not self.trajectory.actions and not self._turn_ids:
            self.trajectory.weight_version = generation.weight_version
        text = generation.text
        if self._turn_ids:
            text = self._codec.decode(self._turn_ids) + text
        self._turn_ids.extend(generation.ids)
        self._turn_logprobs.extend(generation.logprobs)
        # A stop string that is only quoted in a thought ends nothing.
        may_go_on = bool(generation.ids) and len(self._turn_ids) < self._settings.max_new_tokens
        if generation.finish_reason == "stop" and may_go_on and is_inside_thought(text):
            return None
        self._add(TokenSegment("policy", tuple(self._turn_ids), text, tuple(self._turn_logprobs)))
        self._turn_ids, self._turn_logprobs = [], []
        outcome = self.episode.act(text)
        if isinstance(outcome, SearchRequest):
            self.trajectory.actions.append("search")
            return outcome
        self.trajectory.actions.append(outcome.info["action"])
        self._go_on(outcome)
        return None

    def observe(self, result: SearchResult) -> None:
        """Take the documents of the search that `take` asked for."""
        encoded: dict[str, list[int]] = {}
        room = self._room_for_documents()

        def fits(block: str) -> bool:
            encoded[block] = self._codec.encode(block)
            return len(encoded[block]) <= room

        try:
            step = self.episode.observe(result, fits=fits)
        except EngineContractError as error:
            broken = SearchResult(documents=(), engine=str(getattr(result, "engine", "?")), error=str(error))
            step = self.episode.observe(broken)
        self.trajectory.searches.append(record_search(step))
        self.trajectory.error = step.info["search"]["error"]
        self._go_on(step, encoded.get(step.new_text))

    def fail(self, error: Exception) -> None:
        """End the episode for a reason that isn't the policy's."""
        self.done = True
        self.trajectory.status = "failed"
        self.trajectory.reward = 0.0
        self.trajectory.error = f"{type(error).__name__}: {error}"

    def _go_on(self, step: Step, ids: list[int] | None = None) -> None:
        """Record the end of the episode, or add what the environment said to the tokens."""
        self.last_step = step
        if step.terminated or step.truncated:
            self.done = True
            self.record_end(self.trajectory, step)
            return
        ids = self._codec.encode(step.new_text) if ids is None else ids
        if not self._leaves_room(len(ids)):
            self.done = True
            self.trajectory.status = "out_of_tokens"
            self.trajectory.reward = self._unanswered_reward()
            return
        self._add(TokenSegment("environment", tuple(ids), step.new_text))

    def _unanswered_reward(self) -> float:
        """What an episode is worth that ends now, without an answer: to a reward, it is out of turns."""
        reward, actions = self.episode.settings.reward, self.trajectory.actions
        said = [segment.text for segment in self.episode.segments if segment.provenance == "policy"]
        value = reward(
            Outcome(
                answer=None,
                golden_answers=self.episode.question.golden_answers,
                status="out_of_turns",
                num_turns=len(actions),
                num_searches=self.trajectory.num_searches,
                num_invalid_actions=actions.count("invalid"),
                actions=tuple(said),
            )
        )
        if not math.isfinite(value):
            raise RewardError(f"The reward {reward!r} must return a finite number; it returned {value!r}.")
        return float(value)

    @staticmethod
    def record_end(trajectory: Trajectory, step: Step) -> None:
        """Write down how an episode ended, from its last step."""
        trajectory.status = step.info["status"]
        trajectory.reward = step.reward
        trajectory.answer = step.info["answer"]
        trajectory.exact_match = float(step.info["exact_match"])
        trajectory.f1 = float(step.info["f1"])

    def _room_for_documents(self) -> int:
        """How many tokens one search's documents may have: no document may take the turns after the next away."""
        new = self._settings.max_new_tokens
        left = self._settings.max_episode_tokens - len(self._ids) - new
        later = self.episode.settings.max_turns - len(self.trajectory.actions) - 1
        return max(left - 2 * new * later, left // 2) if later > 0 else left

    def _leaves_room(self, num_tokens: int) -> bool:
        """Whether this many more tokens leave room for one whole action."""
        used = len(self._ids) + num_tokens + self._settings.max_new_tokens
        return used <= self._settings.max_episode_tokens

    def _add(self, segment: TokenSegment) -> None:
        self.trajectory.segments.append(segment)
        self._ids.extend(segment.ids)


def record_search(step: Step) -> SearchRecord:
    """The record of the search that a step of `Episode.observe` tells of."""
    search: dict[str, Any] = step.info["search"]
    return SearchRecord(
        turn=step.info["turn"],
        query=search["query"],
        quality=search["quality"],
        noise_probability=search["noise_probability"],
        seed=search["seed"],
        supports_query=search["supports_query"],
        contains_golden=search["contains_golden"],
        engine=search["engine"],
        num_documents=len(search["documents"]),
        cut=search["cut"],
        cached=search["cached"],
        latency_s=search["latency_s"],
        cost=search["cost"],
        error=search["error"],
        attacks=attacks_of(search["metadata"]),
        route=(search["metadata"] or {}).get("route"),
    )
