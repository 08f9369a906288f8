"""Playing by the environment's own protocol: think, then `<search>` or `<answer>`, a turn at a time.

A model plays through `agents.conversation.Conversation`, as in training and in `python -m agents eval`: token ids as
they were sampled, the same budgets, the same corrections. A function, `policy(observation) -> action`, plays the
`Episode` itself.
"""

from __future__ import annotations

import math
from typing import Protocol

from agents.conversation import Conversation, EpisodeTask, RolloutSettings, episode_generator, record_search
from agents.samplers.openai import CHARACTERS_PER_TOKEN
from agents.trajectory import Trajectory
from benchmarks.leaderboard.agents.table import GameOver, Table
from benchmarks.leaderboard.agents.talk import Notes
from zs_env.actions import STOP_STRINGS
from zs_env.episode import Episode, EpisodeSettings, Step
from zs_env.errors import EngineContractError
from zs_env.types import SearchRequest, SearchResult

__all__ = ["Turns", "make_turns"]


class Turns(Protocol):
    """An episode of the environment's own, in play."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""

    @property
    def trajectory(self) -> Trajectory:
        """What became of it, as far as it has come."""

    async def take(self) -> None:
        """Take one turn, with the search that it asks for."""


def make_turns(
    task: EpisodeTask,
    table: Table,
    episode_settings: EpisodeSettings,
    rollout: RolloutSettings,
    seed: int,
    notes: Notes,
) -> Turns:
    """The turns of whoever plays at the table.

    Raises:
        GameOver: The question's prompt doesn't fit the budget.
    """
    if table.is_function:
        return _FunctionTurns(task, table, episode_settings, seed, notes)
    return _ModelTurns(Conversation(task, table.codec, episode_settings, rollout, seed), table, notes)


class _ModelTurns:
    def __init__(self, conversation: Conversation, table: Table, notes: Notes) -> None:
        self._conversation, self._table, self._notes = conversation, table, notes
        self._shown = 0
        if not conversation.begin():
            raise GameOver("failed", conversation.trajectory.error)
        self._show()

    @property
    def done(self) -> bool:
        return self._conversation.done

    @property
    def trajectory(self) -> Trajectory:
        return self._conversation.trajectory

    async def take(self) -> None:
        request = self._conversation.request()
        generation = await self._table.write(request, STOP_STRINGS)
        read, written = self._table.count(request, generation)
        self._notes.prompt_tokens += read
        self._notes.completion_tokens += written
        wanted = self._conversation.take(generation)
        self._show()
        if wanted is not None:
            self._conversation.observe(await self._table.search(wanted))
            self._show()

    def _show(self) -> None:
        segments = self.trajectory.segments
        for segment in segments[self._shown :]:
            self._notes.add(segment.provenance, segment.text)
        self._shown = len(segments)


class _FunctionTurns:
    def __init__(
        self, task: EpisodeTask, table: Table, episode_settings: EpisodeSettings, seed: int, notes: Notes
    ) -> None:
        question = task.question
        self.trajectory = Trajectory(
            question_id=question.id,
            question=question.question,
            golden_answers=tuple(question.golden_answers),
            group=task.group,
            noise_probability=task.noise_probability,
        )
        self.done = False
        self._table, self._notes = table, notes
        self._episode = Episode(question, episode_settings, episode_generator(seed, task.key), task.noise_probability)
        self._episode.begin()
        self._shown = 0
        self._show()

    async def take(self) -> None:
        observation = self._episode.transcript
        said = await self._table.act(observation)
        self._notes.prompt_tokens += math.ceil(len(observation) / CHARACTERS_PER_TOKEN)
        step = self._episode.act(said)
        self._notes.completion_tokens += math.ceil(len(said) / CHARACTERS_PER_TOKEN)
        self._show()
        if isinstance(step, SearchRequest):
            self.trajectory.actions.append("search")
            step = self._observe(await self._table.search(step))
            self.trajectory.searches.append(record_search(step))
            self.trajectory.error = step.info["search"]["error"]
            self._show()
        else:
            self.trajectory.actions.append(step.info["action"])
        if step.terminated or step.truncated:
            self.done = True
            Conversation.record_end(self.trajectory, step)

    def _observe(self, result: SearchResult) -> Step:
        try:
            return self._episode.observe(result)
        except EngineContractError as error:
            name = str(getattr(result, "engine", "?"))
            return self._episode.observe(SearchResult(documents=(), engine=name, error=str(error)))

    def _show(self) -> None:
        segments = self._episode.segments
        for segment in segments[self._shown :]:
            self._notes.add(segment.provenance, segment.text)
        self._shown = len(segments)
