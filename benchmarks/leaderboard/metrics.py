"""What a record says of episodes: scores with intervals, and what was spent. Made of the episodes alone.

Failed episodes are counted and left out of every figure: a server that was gone is not the agent's doing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.intervals import macro_interval, mean_interval
from zs_env.rewards import normalize_answer

__all__ = ["SCORES", "macro", "measure_set", "score_of"]

SCORES = ("em", "f1", "containment", "judged")
"""The scores of an answer, each in [0, 1]; strict exact match is the one that ranks."""

Costs = Mapping[tuple[str, int], float]

_YES_NO = frozenset(("yes", "no"))


def score_of(episode: PlayedEpisode, key: str) -> float | None:
    """An episode's score; None where the score means nothing.

    Containment means nothing where yes or no is right, for these words stand anywhere; "judged" nothing where no judge
    gave a verdict.
    """
    if key == "em":
        return episode.exact_match
    if key == "f1":
        return episode.f1
    if key == "containment":
        return None if _is_yes_no(episode) else episode.containment
    if key == "judged":
        return None if episode.judged is None else float(episode.judged)
    raise ValueError(f"There is no score {key!r}: the scores are {', '.join(SCORES)}.")


def _is_yes_no(episode: PlayedEpisode) -> bool:
    return any(normalize_answer(golden) in _YES_NO for golden in episode.golden_answers)


def measure_set(episodes: Sequence[PlayedEpisode], *, costs: Costs | None = None, seed: int = 0) -> dict[str, Any]:
    """The figures of one set's episodes, of plain JSON types; None where nothing counts.

    Args:
        episodes: All of the set, failed ones too.
        costs: What each question cost, by (set, index); None if nothing has a price.
        seed: Of the bootstrap.

    Returns:
        - `n`: episodes that count; `num_failed`: those that don't.
        - `em`, `f1`, `containment`, `judged`: `{"value", "ci": [low, high], "n"}`, with the 95 % bootstrap interval,
          over the `n` questions that the score means something for.
        - `unanswered`: the share of episodes without an answer. `invalid`: the share of actions that were none.
        - `searches`, `prompt_tokens`, `completion_tokens`, `search_seconds`: means a question.
        - `seconds`: `{"mean", "p50", "p95"}` a question.
        - `cost`: `{"value", "ci", "n"}`, the mean a question.
        - `noisy_share`: of the searches that a simulator answered, those that asked for noisy documents.
        - `golden_shown`: the share of searches whose documents, as shown, held a golden answer; yes and no left out.
    """
    played = [episode for episode in episodes if not episode.failed]
    return {
        "n": len(played),
        "num_failed": len(episodes) - len(played),
        **{key: _scored(_values(played, key), seed) for key in SCORES},
        **_spent(played),
        "cost": _scored(_costs(played, costs), seed, share=False),
        **_searched(played),
    }


def macro(sets: Mapping[str, Sequence[PlayedEpisode]], *, costs: Costs | None = None, seed: int = 0) -> dict[str, Any]:
    """The average over sets with equal weights, keyed as `measure_set`.

    A figure is None where a set has none: an average over fewer sets would be another figure. Intervals come from
    resampling each set for itself. Of `seconds`, p50 and p95 are those of all questions together. `n` and `num_failed`
    are sums.

    Args:
        sets: The episodes of each set.
        costs: As in `measure_set`.
        seed: Of the bootstrap.
    """
    played = {name: [each for each in episodes if not each.failed] for name, episodes in sets.items()}
    every = [episode for episodes in played.values() for episode in episodes]
    figures = [{**_spent(episodes), **_searched(episodes)} for episodes in played.values()]
    seconds = _seconds(every) if figures and all(played.values()) else None
    if seconds is not None:
        seconds["mean"] = float(np.mean([each["seconds"]["mean"] for each in figures]))
    return {
        "n": len(every),
        "num_failed": sum(map(len, sets.values())) - len(every),
        **{key: _scored_macro([_values(episodes, key) for episodes in played.values()], seed) for key in SCORES},
        **{name: _average([each[name] for each in figures]) for name in _MEANS},
        "seconds": seconds,
        "cost": _scored_macro([_costs(episodes, costs) for episodes in played.values()], seed, share=False),
        **{name: _average([each[name] for each in figures]) for name in ("noisy_share", "golden_shown")},
    }


_MEANS = ("unanswered", "invalid", "searches", "prompt_tokens", "completion_tokens", "search_seconds")


def _values(played: Sequence[PlayedEpisode], key: str) -> list[float]:
    return [score for episode in played if (score := score_of(episode, key)) is not None]


def _costs(played: Sequence[PlayedEpisode], costs: Costs | None) -> list[float]:
    return [] if costs is None else [costs[episode.set, episode.index] for episode in played]


def _scored(values: Sequence[float], seed: int, *, share: bool = True) -> dict[str, Any] | None:
    found = mean_interval(values, seed=seed, share=share)
    return None if found is None else {"value": found[0], "ci": found[1], "n": len(values)}


def _scored_macro(values: Sequence[Sequence[float]], seed: int, *, share: bool = True) -> dict[str, Any] | None:
    found = macro_interval(values, seed=seed, share=share)
    return None if found is None else {"value": found[0], "ci": found[1], "n": sum(map(len, values))}


def _spent(played: Sequence[PlayedEpisode]) -> dict[str, Any]:
    turns = sum(episode.num_turns for episode in played)
    return {
        "unanswered": _mean([episode.answer is None for episode in played]),
        "invalid": sum(episode.num_invalid for episode in played) / turns if turns else None,
        "searches": _mean([episode.num_searches for episode in played]),
        "prompt_tokens": _mean([episode.prompt_tokens for episode in played]),
        "completion_tokens": _mean([episode.completion_tokens for episode in played]),
        "seconds": _seconds(played),
        "search_seconds": _mean([episode.search_seconds for episode in played]),
    }


def _seconds(played: Sequence[PlayedEpisode]) -> dict[str, float] | None:
    if not played:
        return None
    seconds = np.array([episode.seconds for episode in played], dtype=np.float64)
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return {"mean": float(seconds.mean()), "p50": float(p50), "p95": float(p95)}


def _searched(played: Sequence[PlayedEpisode]) -> dict[str, float | None]:
    searches = [(episode, search) for episode in played for search in episode.searches if search.error is None]
    return {
        "noisy_share": _mean([search.quality == "noisy" for _, search in searches if search.route != "real"]),
        "golden_shown": _mean([search.contains_golden for episode, search in searches if not _is_yes_no(episode)]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
