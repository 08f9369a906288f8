"""Episodes and records for tests: small, whole, and valid unless a test makes them otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import zs_env
from agents.trajectory import SearchRecord
from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.metrics import macro, measure_set
from benchmarks.leaderboard.records import Record, by_set, write_record
from zs_env.episode import Segment
from zs_env.questions.source import fingerprint
from zs_env.rewards import containment_score, exact_match_score, f1_score
from zs_env.types import Question

__all__ = ["a_record", "an_episode", "content_of", "search"]


def search(**given: Any) -> SearchRecord:
    """A search that was carried out."""
    values: dict[str, Any] = {
        "turn": 1,
        "query": "who?",
        "quality": "useful",
        "noise_probability": 0.5,
        "seed": 7,
        "supports_query": None,
        "contains_golden": True,
        "engine": "template",
        "num_documents": 3,
        "cut": False,
        "cached": False,
        "latency_s": 0.25,
        "cost": 0.01,
        "error": None,
    }
    return SearchRecord(**values | given)


def an_episode(index: int = 0, answer: str | None = "Ada", **given: Any) -> PlayedEpisode:
    """An episode whose scores are those of its answer."""
    golden = tuple(given.pop("golden_answers", ("Ada",)))
    searches = tuple(given.pop("searches", ()))
    values: dict[str, Any] = {
        "set": "people",
        "index": index,
        "question_id": f"q{index}",
        "question": f"Who was number {index}?",
        "golden_answers": golden,
        "status": "answered" if answer is not None else "out_of_turns",
        "answer": answer,
        "exact_match": exact_match_score(answer, golden),
        "f1": f1_score(answer, golden),
        "containment": containment_score(answer, golden),
        "num_turns": 1 + len(searches),
        "num_searches": sum(each.error is None for each in searches),
        "search_seconds": sum(each.latency_s for each in searches),
        "search_cost": sum(each.cost for each in searches),
        "searches": searches,
        "segments": (Segment("prompt", "Who?"), Segment("policy", f"<answer>{answer}</answer>")),
    }
    return PlayedEpisode(**values | given)


def content_of(episodes: Sequence[PlayedEpisode], **given: Any) -> dict[str, Any]:
    """A record of these episodes, all of their sets' questions; `given` replaces whole entries."""
    names = list(dict.fromkeys(episode.set for episode in episodes))
    sets = by_set({"sets": [{"name": name} for name in names]}, episodes)
    content: dict[str, Any] = {
        "version": zs_env.__version__,
        "date": "2026-01-31",
        "row": {
            "policy": "a policy",
            "agent": "zerosearch",
            "model": None,
            "train_engine": "none",
            "eval_engine": "template",
        },
        "engine": {
            "name": "template",
            "search_mode": "template",
            "kind": "simulated",
            "options": {},
            "fingerprint": None,
        },
        "suite": {"name": "questions", "version": 1},
        "sets": [_set_entry(name, played) for name, played in sets.items()],
        "macro": macro(sets),
        "settings": {
            "seed": 0,
            "noise_probability": 0.0,
            "topk": 5,
            "max_turns": 5,
            "max_new_tokens": 64,
            "max_episode_tokens": 1024,
            "temperature": None,
            "concurrency": 8,
            "tokens": "characters",
            "judge": None,
            "prices": {},
        },
        "agent": {"name": "zerosearch", "source": "arXiv 2505.04588", "fingerprint": "a1"},
        "model": None,
        "fingerprints": {},
        "machine": {"cpus": 2},
        "packages": {"numpy": "2.0"},
        "git": None,
        "seconds": 1.5,
        "state": "complete",
        "why_partial": None,
        "num_failed": sum(episode.failed for episode in episodes),
    }
    return content | given


def _set_entry(name: str, played: Sequence[PlayedEpisode]) -> dict[str, Any]:
    ordered = sorted(played, key=lambda episode: episode.index)
    told = fingerprint(
        [Question(id=e.question_id, question=e.question, golden_answers=e.golden_answers) for e in ordered]
    )
    return {
        "name": name,
        "source": f"{name}.jsonl",
        "split": None,
        "revision": None,
        "size": len(ordered),
        "limit": None,
        "n": len(ordered),
        "source_fingerprint": told,
        "fingerprint": told,
        "metrics": measure_set(ordered),
    }


def a_record(root: Path, episodes: Sequence[PlayedEpisode], **given: Any) -> Record:
    """A record that was written; `row`, `engine`, `settings` and `agent` are laid over what is there."""
    content = content_of(episodes)
    for name, value in given.items():
        laid = name in ("row", "engine", "settings", "agent") and isinstance(value, Mapping)
        content[name] = content[name] | value if laid else value
    return write_record(root, content, episodes)


def renamed(episodes: Sequence[PlayedEpisode], name: str) -> list[PlayedEpisode]:
    """The same episodes as those of another set."""
    return [replace(episode, set=name) for episode in episodes]
