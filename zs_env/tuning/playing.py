"""Plays one episode of a policy against an engine, and tells what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zs_env.engines.around.base import ask, kind_of
from zs_env.engines.around.keys import without_secrets
from zs_env.episode import Episode, EpisodeSettings, Step
from zs_env.errors import BudgetError, ZeroSearchError
from zs_env.measuring.cases import search_seed
from zs_env.rewards import exact_match_score
from zs_env.tuning.policies import Policy, Turn
from zs_env.tuning.records import CollectedSearch
from zs_env.types import Question, SearchEngine, SearchRequest, SearchResult

__all__ = ["Job", "Played", "play_episode"]

_MAX_ERROR_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An episode to play.

    Attributes:
        key: Tells it from the others.
        question: What is asked.
        seed: Of all that is drawn in it.
    """

    key: str
    question: Question
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of an episode.

    Attributes:
        row: How it went, in plain JSON types.
        searches: Those that found something, in order.
        error: Why it failed; None if it didn't.
    """

    row: dict[str, Any] = field(default_factory=dict)
    searches: Sequence[CollectedSearch] = ()
    error: str | None = None


class _SearchFailedError(Exception):
    """A search gave an error instead of documents."""


async def play_episode(job: Job, engine: SearchEngine, policy: Policy, settings: EpisodeSettings) -> Played:
    """Play an episode to its end. Whatever goes wrong in the policy or the engine is its failure, and raised nowhere.

    Raises:
        BudgetError: The budget for searches is used up.
    """
    try:
        return await _play(job, engine, policy, settings)
    except BudgetError:
        raise
    except _SearchFailedError as failure:
        error = f"search failed: {failure}"
    except ZeroSearchError as failure:
        error = f"{type(failure).__name__}: {failure}"
    except Exception as failure:
        error = f"policy raised {type(failure).__name__}: {failure}"
    return Played(error=" ".join(without_secrets(error).split())[:_MAX_ERROR_CHARS])


async def _play(job: Job, engine: SearchEngine, policy: Policy, settings: EpisodeSettings) -> Played:
    episode = Episode(job.question, settings, np.random.default_rng(job.seed))
    episode.begin()
    requests: list[SearchRequest] = []
    results: list[SearchResult] = []
    while not episode.done:
        turn = Turn(
            question=job.question,
            transcript=episode.transcript,
            segments=tuple(episode.segments),
            results=tuple(results),
            seed=search_seed(job.seed, str(episode.num_turns)),
        )
        action = await policy.act(turn)
        if action is None:
            break
        acted = episode.act(action)
        if isinstance(acted, Step):
            continue
        (result,) = await ask(engine, [acted])
        if result.error is not None:
            if kind_of(result) == "budget":
                raise BudgetError(f"{result.error} What was played before is kept.")
            raise _SearchFailedError(result.error)
        episode.observe(result)
        requests.append(acted)
        results.append(result)
    return _record(job, episode, requests, results)


def _record(job: Job, episode: Episode, requests: Sequence[SearchRequest], results: Sequence[SearchResult]) -> Played:
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
    return Played(row=row, searches=searches)
