"""Playing many questions at once with one agent.

Each question goes on as its own searches return; what many want written is written together. Equal seeds give equal
episodes in whatever order and however many at once, up to rounding in the last bits of a model's numbers, which depend
on what is computed together. This is also the error boundary: what an engine, a server or an agent raises fails one
question, and once it is clear that all is lost, the run.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from agents.conversation import EpisodeTask, RolloutSettings
from agents.errors import RolloutError, first_line
from benchmarks.leaderboard.agents.base import AgentSpec
from benchmarks.leaderboard.agents.game import Game
from benchmarks.leaderboard.agents.registry import find_agent
from benchmarks.leaderboard.agents.table import GameOver
from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.playing.player import BoardPlayer
from benchmarks.leaderboard.playing.table import PlayingTable, Replay, TokenCount
from benchmarks.leaderboard.playing.tasks import BoardTask
from zs_env.bridge import start
from zs_env.curriculum import check_whole
from zs_env.episode import EpisodeSettings
from zs_env.errors import ActionError, EngineContractError, RewardError, ServiceError, ZeroSearchError
from zs_env.types import SearchEngine

__all__ = ["MAX_FAILURES_IN_A_ROW", "play_questions"]

MAX_FAILURES_IN_A_ROW = 8
"""So many questions that failed one after the other say that whoever plays or searches is gone."""

_OF_ONE_QUESTION = (ServiceError, ActionError, RewardError, EngineContractError)
"""Errors of ours that say nothing of other questions."""

_PATIENCE_S = 1.0
"""How long whoever stops a run waits for what a model is writing, which may take minutes."""


def play_questions(
    agent: str,
    player: BoardPlayer,
    tasks: Sequence[BoardTask],
    *,
    engine: SearchEngine,
    episode_settings: EpisodeSettings,
    rollout_settings: RolloutSettings,
    seed: int,
    concurrency: int,
    keep: Callable[[PlayedEpisode], None],
    replay: Replay | None = None,
    temperature: float | None = None,
    pool: Sequence[BoardTask] | None = None,
) -> TokenCount | None:
    """Play every question with an agent.

    Args:
        agent: Its name in `AGENTS`.
        player: Who plays it.
        tasks: What is played.
        engine: Who answers searches.
        episode_settings: The rules; an agent's searches and its answer are actions by them.
        rollout_settings: The budgets, in tokens, of each conversation with the model; where tokens can't be counted,
            four characters are taken for one. `max_failure_rate` is the share of `tasks` that may fail.
        seed: Where all randomness comes from, with each question's set and index.
        concurrency: The most questions that are in play at the same time.
        keep: Is given each question as it ends, in any order, in the caller's thread.
        replay: What the model wrote before, and where to keep what it writes.
        temperature: What logits are divided by; None for the likeliest token each time.
        pool: All questions of the sets, where `tasks` are only those that are left: `random` answers from among them.

    Returns:
        Who counted tokens; None if there were none to count.

    Raises:
        ConfigError: The agent is unknown, or can't be played by this player, or what it asks can't be asked.
        RolloutError: Too many questions failed, or many in a row. What had ended by then was kept.
        BudgetError: The budget for searches is used up.
    """
    spec = find_agent(agent)
    player.check(agent)
    check_whole("concurrency", concurrency, least=1)
    scale = player.characters_per_token if spec.needs_model else 1
    rollout = replace(
        rollout_settings,
        max_new_tokens=rollout_settings.max_new_tokens * scale,
        max_episode_tokens=rollout_settings.max_episode_tokens * scale,
    )
    table = PlayingTable(player, engine, temperature=temperature, replay=replay)
    make = _GameMaker(spec, table, episode_settings, rollout, seed, pool or tasks)
    wait_s = None
    try:
        _Match(make, tasks, concurrency, rollout_settings.max_failure_rate, keep).play()
    except KeyboardInterrupt:
        wait_s = _PATIENCE_S
        raise
    finally:
        table.close(wait_s=wait_s)
    return table.counted


class _GameMaker:
    """Plays one question by an agent's rules."""

    def __init__(
        self,
        spec: AgentSpec,
        table: PlayingTable,
        episode_settings: EpisodeSettings,
        rollout: RolloutSettings,
        seed: int,
        pool: Sequence[BoardTask],
    ) -> None:
        self.spec, self.table = spec, table
        self._episode_settings, self._rollout, self._seed = episode_settings, rollout, seed
        self._answers: dict[str, dict[int, str]] = {}
        if spec.bound is not None:
            for task in pool:
                self._answers.setdefault(task.set, {})[task.index] = task.question.golden_answers[0]

    async def play(self, task: BoardTask) -> tuple[PlayedEpisode, Exception | None]:
        """What became of a question, and what made it fail.

        Raises:
            ZeroSearchError: Something that makes every question fail.
        """
        game = Game(
            EpisodeTask(question=task.question, group=0, key=task.key, noise_probability=task.noise_probability),
            table=self.table,
            episode_settings=self._episode_settings,
            rollout=self._rollout,
            seed=self._seed,
        )
        over, cause = None, None
        try:
            if self.spec.bound is not None:
                game.answer(self._bound(task))
            else:
                assert self.spec.play is not None
                await self.spec.play(game)
        except GameOver as ended:
            over = ended
        except Exception as error:
            if isinstance(error, ZeroSearchError) and not isinstance(error, _OF_ONE_QUESTION):
                raise
            over, cause = GameOver("failed", f"{type(error).__name__}: {error}"), error
        return game.end(task.set, task.index, over), cause

    def _bound(self, task: BoardTask) -> str:
        assert self.spec.bound is not None
        others = [answer for index, answer in self._answers.get(task.set, {}).items() if index != task.index]
        draws = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(*task.key, 1)))
        return self.spec.bound(task.question, others, draws)


class _Match:
    """All questions, so many at a time; what has ended is handed to the caller's thread."""

    def __init__(
        self,
        maker: _GameMaker,
        tasks: Sequence[BoardTask],
        concurrency: int,
        max_failure_rate: float,
        keep: Callable[[PlayedEpisode], None],
    ) -> None:
        self._maker, self._tasks, self._keep = maker, tasks, keep
        self._concurrency, self._max_failures = concurrency, max_failure_rate * len(tasks)
        self._failed, self._in_a_row = 0, 0
        self._ended: queue.SimpleQueue[PlayedEpisode | None] = queue.SimpleQueue()

    def play(self) -> None:
        match = start(self._play())
        match.add_done_callback(lambda _: self._ended.put(None))
        try:
            while (episode := self._ended.get()) is not None:
                self._keep(episode)
        except BaseException:
            match.cancel()
            self._drain(match)
            raise
        match.result()

    def _drain(self, match: Future[None]) -> None:
        """Wait until nothing is in play any more; what has ended meanwhile is played again some other time."""
        while self._ended.get() is not None:
            pass

    async def _play(self) -> None:
        waiting = iter(self._tasks)
        workers = [asyncio.ensure_future(self._work(waiting)) for _ in range(min(self._concurrency, len(self._tasks)))]
        try:
            for worker in asyncio.as_completed(workers):
                await worker
        finally:
            for each in workers:
                each.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, waiting: Iterator[BoardTask]) -> None:
        pace = self._maker.table.pace
        for task in waiting:
            pace.enter()
            try:
                episode, cause = await self._maker.play(task)
            finally:
                pace.leave()
            self._ended.put(episode)
            self._check(episode, cause)

    def _check(self, episode: PlayedEpisode, cause: Exception | None) -> None:
        self._in_a_row = self._in_a_row + 1 if episode.failed else 0
        self._failed += episode.failed
        if self._failed > self._max_failures or self._in_a_row >= MAX_FAILURES_IN_A_ROW:
            many = f"{self._failed} of {len(self._tasks)} questions failed"
            if self._in_a_row >= MAX_FAILURES_IN_A_ROW:
                many += f", the last {self._in_a_row} of them one after the other"
            raise RolloutError(
                f"{many}, so the rest isn't asked. The last (question {episode.question_id!r}): "
                f"{episode.error or first_line(cause or Exception('failed'))}"
            ) from cause
