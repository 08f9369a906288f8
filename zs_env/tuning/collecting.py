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

import numpy as np

from zs_env.curriculum import check_probability, check_whole
from zs_env.engines.around.base import ask, kind_of
from zs_env.engines.around.keys import without_secrets
from zs_env.episode import Episode, EpisodeSettings, Step
from zs_env.errors import BudgetError, ConfigError, ZeroSearchError
from zs_env.measuring.cases import draw_indices, search_seed, with_hops
from zs_env.rewards import exact_match_score
from zs_env.tuning.keeping import KeptFile
from zs_env.tuning.policies import Policy, Turn
from zs_env.tuning.records import COLLECTED, CollectedSearch
from zs_env.types import Question, QuestionSource, SearchEngine, SearchRequest, SearchResult

__all__ = ["EPISODES", "CollectSettings", "Collected", "collect", "episodes_path"]

EPISODES = "zerosearch.episodes/1"
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


@dataclass(frozen=True, slots=True)
class _Job:
    key: str
    question: Question
    attempt: int


@dataclass(slots=True)
class _Played:
    """An episode that was played: its line and its searches, or why it failed."""

    row: dict[str, Any]
    searches: list[CollectedSearch]
    error: str | None = None


class _SearchFailedError(Exception):
    """A search gave an error instead of documents."""


def episodes_path(path: Path) -> Path:
    """Where the lines of episodes are, beside the searches."""
    return path.with_name(f"{path.stem}.episodes.jsonl")


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
    kept = _Kept(path, header)
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


def _jobs(questions: QuestionSource, settings: CollectSettings) -> list[_Job]:
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
        _Job(f"{question.id}/{attempt}", question, attempt)
        for attempt in range(settings.attempts)
        for question in drawn
    ]


class _Kept:
    """The two files, in step with each other."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        beside = episodes_path(path)
        begun = path.exists() and path.read_bytes().count(b"\n") > 1
        if beside.exists() != path.exists() and (begun or beside.exists()):
            there, missing = (path, beside) if path.exists() else (beside, path)
            raise ConfigError(
                f"{str(there)!r} is there without {missing.name!r} beside it, so that it can't be told which episodes "
                "are whole: put that back, or give the path of another file."
            )
        self._searches = KeptFile(path, header)
        try:
            self._lines = KeptFile(beside, {**header, "schema": EPISODES})
        except BaseException:
            self._searches.close()
            raise
        ends = [0, *(row["end"] for row in self._lines.rows)]
        whole = sum(end <= self._searches.size for end in ends) - 1
        self.episodes = self._lines.rows[:whole]
        self.keys = {row["key"] for row in self.episodes}
        if whole < len(self._lines.rows):
            self._lines.cut(self._lines.ends[whole - 1] if whole else _header_bytes(beside))
        self._searches.cut(ends[whole] if whole else _header_bytes(path))

    def add(self, played: _Played) -> None:
        before = self._searches.size, self._lines.size
        try:
            self._searches.write([search.to_json() for search in played.searches])
            row = {**played.row, "end": self._searches.size}
            self._lines.write([row])
        except BaseException:
            self._searches.cut(before[0])
            self._lines.cut(before[1])
            raise
        self.episodes.append(row)
        self.keys.add(row["key"])

    def close(self) -> None:
        self._searches.close()
        self._lines.close()


def _header_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return len(file.readline())


class _Collector:
    def __init__(
        self,
        engine: SearchEngine,
        policy: Policy,
        settings: CollectSettings,
        kept: _Kept,
        say: Callable[[str], None],
    ) -> None:
        self._engine, self._policy, self._settings, self._kept, self._say = engine, policy, settings, kept, say
        self.failures: Counter[str] = Counter()
        self._played: dict[int, _Played] = {}
        self._next = 0
        self._done = 0

    async def play_all(self, jobs: Sequence[_Job]) -> None:
        """Play all, some at the same time, and write each in its turn."""
        waiting, began = iter(enumerate(jobs)), time.perf_counter()
        ahead = _AHEAD * self._settings.concurrency
        room, said_at = asyncio.Condition(), began

        async def worker() -> None:
            nonlocal said_at
            for number, job in waiting:
                async with room:
                    await room.wait_for(lambda: number < self._next + ahead)  # noqa: B023  # awaited in this turn
                self._played[number] = played = await self._play(job)
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

        tasks = [asyncio.ensure_future(worker()) for _ in range(min(self._settings.concurrency, len(jobs)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _close(self._engine)
            await _close(self._policy)
            self._write_rest()
        if self.failures and not self._kept.episodes:
            self._stop(self.failures.most_common(1)[0][0])

    def _write_in_order(self) -> None:
        while (played := self._played.pop(self._next, None)) is not None:
            self._next += 1
            if played.error is None:
                self._kept.add(played)

    def _write_rest(self) -> None:
        """What others that were begun earlier held up, when the run ends before these do."""
        for number in sorted(self._played):
            if self._played[number].error is None:
                self._kept.add(self._played[number])
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

    async def _play(self, job: _Job) -> _Played:
        try:
            return await self._play_one(job)
        except BudgetError:
            raise
        except _SearchFailedError as failure:
            error = f"search failed: {failure}"
        except ZeroSearchError as failure:
            error = f"{type(failure).__name__}: {failure}"
        except Exception as failure:  # whatever a policy of the user's raises is a failed episode
            error = f"policy raised {type(failure).__name__}: {failure}"
        return _Played({}, [], " ".join(without_secrets(error).split())[:500])

    async def _play_one(self, job: _Job) -> _Played:
        seed = search_seed(self._settings.seed, job.key)
        episode = Episode(job.question, self._settings.episode, np.random.default_rng(seed))
        episode.begin()
        results: list[SearchResult] = []
        requests: list[SearchRequest] = []
        while not episode.done:
            turn = Turn(
                question=job.question,
                transcript=episode.transcript,
                segments=tuple(episode.segments),
                results=tuple(results),
                seed=search_seed(seed, str(episode.num_turns)),
            )
            action = await self._policy.act(turn)
            if action is None:
                break
            acted = episode.act(action)
            if isinstance(acted, Step):
                continue
            (result,) = await ask(self._engine, [acted])
            if result.error is not None:
                if kind_of(result) == "budget":
                    raise BudgetError(f"{result.error} What was played before is kept.")
                raise _SearchFailedError(result.error)
            episode.observe(result)
            requests.append(acted)
            results.append(result)
        return _record(job, episode, requests, results)


def _record(job: _Job, episode: Episode, requests: Sequence[SearchRequest], results: Sequence[SearchResult]) -> _Played:
    outcome = episode.outcome
    exact_match: bool | None = None
    answer, status, num_invalid = None, "ended", 0
    if outcome is not None:
        answer, status, num_invalid = outcome.answer, outcome.status, outcome.num_invalid_actions
        exact_match = bool(exact_match_score(outcome.answer, outcome.golden_answers))
    searches = [
        CollectedSearch(
            key=f"{job.key}/{turn}",
            question=job.question,
            query=request.query,
            documents=result.documents,
            engine=result.engine,
            turn=turn,
            exact_match=exact_match,
        )
        for turn, (request, result) in enumerate(zip(requests, results, strict=True))
        if result.documents
    ]
    row = {
        "key": job.key,
        "status": status,
        "answer": answer,
        "exact_match": exact_match,
        "num_turns": episode.num_turns,
        "num_invalid": num_invalid,
        "num_searches": len(requests),
        "num_kept": len(searches),
        "num_empty": len(requests) - len(searches),
        "num_documents": sum(len(search.documents) for search in searches),
        "cost": sum(result.cost for result in results),
    }
    return _Played(row, searches)


async def _close(what: Any) -> None:
    closing = getattr(what, "aclose", None)
    closed = closing() if callable(closing) else None
    if inspect.isawaitable(closed):
        await closed
