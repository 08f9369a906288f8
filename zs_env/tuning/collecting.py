"""Lets a policy search an engine, and keeps what it searched for and what came: `CollectedSearch`.

Two files are written: the searches (`collected.jsonl`), and beside them one line for each episode that was played to
its end (`collected.episodes.jsonl`), which says where its searches end in the first. An episode is written at its end,
in the order in which episodes were begun. Whatever a kill leaves of an episode that has no line of its own is taken
away by the next run, which plays it again.

An episode whose policy raised, or whose search failed, has failed: it is counted, not written, and played again by the
next run of the same command. Past a failure rate the run stops.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zs_env.curriculum import check_probability, check_whole
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.measuring.cases import draw_indices, search_seed, with_hops
from zs_env.tuning.kept_episodes import KeptEpisodes
from zs_env.tuning.playing import Job, Played, play_episode
from zs_env.tuning.policies import Policy
from zs_env.tuning.records import COLLECTED
from zs_env.types import QuestionSource, SearchEngine
from zs_env.workers import run_workers

__all__ = ["CollectSettings", "Collected", "collect"]

MIN_EPISODES = 20
"""So many episodes are played before their failure rate may end the run."""

_SAID_EVERY_S = 10.0
_AHEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSettings:
    """How searches are collected.

    Attributes:
        episode: What all episodes share: turns, documents a search, prompt.
        limit: How many questions, drawn by the seed; None for all. A larger one goes on where a smaller one ended.
        attempts: Episodes a question. More go on where fewer ended.
        hops: How many searches a question takes, for sources that don't say so themselves.
        seed: Of the draw of questions, and of whatever policies and engines draw.
        concurrency: Episodes at the same time.
        max_failures: The share of failed episodes above which the run stops, in [0, 1].
    """

    episode: EpisodeSettings = field(default_factory=EpisodeSettings)
    limit: int | None = None
    attempts: int = 1
    hops: int | None = None
    seed: int = 0
    concurrency: int = 8
    max_failures: float = 0.25

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("attempts", 1), ("hops", 1), ("seed", 0), ("concurrency", 1)):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least=least)
        check_probability("max_failures", self.max_failures)
        if self.episode.max_turns < 2:
            raise ConfigError(
                f"max_turns must be at least 2, for a search on the last turn isn't carried out; got "
                f"{self.episode.max_turns}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """How collecting went.

    Attributes:
        header: What the file says of itself.
        num_wanted: How many episodes were asked for.
        episodes: The lines of those that are kept, of all runs.
        failures: What failed episodes of this run said, and how often, the most frequent first.
    """

    header: Mapping[str, Any]
    num_wanted: int
    episodes: Sequence[Mapping[str, Any]]
    failures: Mapping[str, int]

    def summary(self) -> dict[str, Any]:
        """Counts, in plain JSON types."""
        ended = Counter(str(row["status"]) for row in self.episodes)
        judged = [row["exact_match"] for row in self.episodes if row["exact_match"] is not None]

        def total(name: str) -> Any:
            return sum(row[name] for row in self.episodes)

        return {
            "num_wanted": self.num_wanted,
            "num_episodes": len(self.episodes),
            "num_failed": sum(self.failures.values()),
            "ended": dict(ended.most_common()),
            "num_searches": total("num_searches"),
            "num_empty": total("num_empty"),
            "num_kept": total("num_kept"),
            "num_documents": total("num_documents"),
            "num_invalid": total("num_invalid"),
            "num_right": sum(judged),
            "num_wrong": len(judged) - sum(judged),
            "cost": total("cost"),
            "failures": dict(self.failures),
        }


def collect(
    questions: QuestionSource,
    engine: SearchEngine,
    policy: Policy,
    path: Path,
    settings: CollectSettings,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Collected:
    """Collect searches into a file, or go on with it.

    Args:
        questions: What is asked.
        engine: What is searched.
        policy: Who searches.
        path: The file of searches; that of episodes is beside it.
        settings: How.
        say: Is told how it goes.

    Raises:
        ConfigError: The files are of other settings, or too many episodes fail.
        BudgetError: The engine's budget is used up. What was played before is kept.
    """
    if settings.attempts > 1 and not policy.draws:
        raise ConfigError(
            f"The policy {policy.identity['name']!r} does the same at every attempt: leave attempts at 1 (got "
            f"{settings.attempts})."
        )
    header = {"schema": COLLECTED, **_header(questions, engine, policy, settings)}
    jobs = _jobs(questions, settings)
    kept = KeptEpisodes(path, header)
    try:
        waiting = [job for job in jobs if job.key not in kept.keys]
        if len(waiting) < len(jobs):
            say(f"{len(jobs) - len(waiting)} of {len(jobs)} episodes are kept from before")
        collector = _Collector(engine, policy, settings, kept, say)
        if waiting:
            asyncio.run(collector.play_all(waiting))
    finally:
        kept.close()
    return Collected(
        header=header,
        num_wanted=len(jobs),
        episodes=kept.episodes,
        failures=dict(collector.failures.most_common()),
    )


def _header(
    questions: QuestionSource, engine: SearchEngine, policy: Policy, settings: CollectSettings
) -> dict[str, Any]:
    episode = settings.episode
    return {
        "engine": {"name": engine.name, "fingerprint": getattr(engine, "fingerprint", None)},
        "questions": {"name": questions.name, "split": questions.split, "fingerprint": questions.fingerprint},
        "policy": dict(policy.identity),
        "topk": episode.topk,
        "max_turns": episode.max_turns,
        "max_information_chars": episode.max_information_chars,
        "prompt": episode.prompt,
        "hops": settings.hops,
        "seed": settings.seed,
    }


def _jobs(questions: QuestionSource, settings: CollectSettings) -> list[Job]:
    drawn = [
        with_hops(questions[index], questions.name, settings.hops)
        for index in draw_indices(len(questions), settings.limit, settings.seed)
    ]
    repeated = [id for id, count in Counter(question.id for question in drawn).items() if count > 1]
    if repeated:
        raise ConfigError(
            f"Ids of questions must differ, for searches are told apart by them; {len(repeated)} occur more than once "
            f"in {questions.name!r}, such as {repeated[0]!r:.100}."
        )
    return [
        Job(key=key, question=question, seed=search_seed(settings.seed, key))
        for attempt in range(settings.attempts)
        for question in drawn
        for key in (f"{question.id}/{attempt}",)
    ]


class _Collector:
    def __init__(
        self,
        engine: SearchEngine,
        policy: Policy,
        settings: CollectSettings,
        kept: KeptEpisodes,
        say: Callable[[str], None],
    ) -> None:
        self._engine, self._policy, self._settings, self._kept, self._say = engine, policy, settings, kept, say
        self.failures: Counter[str] = Counter()
        self._played: dict[int, Played] = {}
        self._next = 0
        self._done = 0

    async def play_all(self, jobs: Sequence[Job]) -> None:
        """Play all, some at the same time, and write each in its turn."""
        waiting, began = iter(enumerate(jobs)), time.perf_counter()
        ahead = _AHEAD * self._settings.concurrency
        room, said_at = asyncio.Condition(), began

        async def worker() -> None:
            nonlocal said_at
            for number, job in waiting:
                async with room:
                    await room.wait_for(lambda: number < self._next + ahead)  # noqa: B023  # awaited in this turn
                self._played[number] = played = await play_episode(
                    job, self._engine, self._policy, self._settings.episode
                )
                self._done += 1
                self._write_in_order()
                async with room:
                    room.notify_all()
                if played.error is not None:
                    self._count_failure(played.error)
                if time.perf_counter() - said_at > _SAID_EVERY_S:
                    said_at = time.perf_counter()
                    self._say(f"{self._done} of {len(jobs)} episodes, {said_at - began:.0f} s")
                await asyncio.sleep(0)  # an engine that never waits must let the others in, and Ctrl-C

        try:
            await run_workers(worker, min(self._settings.concurrency, len(jobs)))
        finally:
            await _close(self._engine)
            await _close(self._policy)
            self._write_rest()
        if self.failures and not self._kept.episodes:
            self._stop(self.failures.most_common(1)[0][0])

    def _write_in_order(self) -> None:
        while (played := self._played.pop(self._next, None)) is not None:
            self._next += 1
            if played.error is None:
                self._kept.add(played.row, played.searches)

    def _write_rest(self) -> None:
        """What others that were begun earlier held up, when the run ends before these do."""
        for _, played in sorted(self._played.items()):
            if played.error is None:
                self._kept.add(played.row, played.searches)
        self._played.clear()

    def _count_failure(self, error: str) -> None:
        self.failures[error] += 1
        if self.failures.total() > self._settings.max_failures * max(self._done, MIN_EPISODES):
            self._stop(error)

    def _stop(self, error: str) -> None:
        raise ConfigError(
            f"{self.failures.total()} of {self._done} episodes failed, more than the share of "
            f"{self._settings.max_failures:g} that is allowed (--max-failures), so the run was ended. The last one "
            f"says: {error}. The others are kept: mend that, and run the same command again."
        )


async def _close(what: Any) -> None:
    closing = getattr(what, "aclose", None)
    closed = closing() if callable(closing) else None
    if inspect.isawaitable(closed):
        await closed
