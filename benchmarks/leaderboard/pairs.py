"""Two rows on the same questions: the difference, its interval, and whether chance would do.

Questions are paired by (set, index), and must be the same. Those that failed for either are left out of both.

- The interval is the bootstrap's over pairs (`benchmarks.leaderboard.intervals`).
- For scores of 0 or 1, p is exact McNemar's: of the questions that only one of the two got right, each is as likely
  either's. For other scores, and for averages over sets, p is that of flipping the signs of differences at random,
  of which `NUM_FLIPS` are drawn; so it is never below 1 / (NUM_FLIPS + 1).

A board compares many pairs: `Scores` is an episode list read once, which `paired_test` takes as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.intervals import NUM_SAMPLES, bootstrap_means, interval_of
from benchmarks.leaderboard.metrics import score_of
from zs_env.errors import ConfigError

__all__ = ["MACRO", "NUM_FLIPS", "Scores", "mcnemar_p", "paired_by_set", "paired_test"]

MACRO = "macro"
NUM_FLIPS = 9_999

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """One score of every episode of a record.

    Attributes:
        key: Which score.
        sets: For each set: the indices in order, the questions' ids, and the scores, NaN where none counts.
    """

    key: str
    sets: Mapping[str, tuple[NDArray[np.int64], NDArray[np.str_], Floats]]

    @classmethod
    def of(cls, episodes: Sequence[PlayedEpisode], key: str = "em") -> Scores:
        """Read the scores of episodes.

        Raises:
            ConfigError: Two episodes are of the same question.
        """
        rows: dict[str, dict[int, tuple[str, float]]] = {}
        for episode in episodes:
            score = None if episode.failed else score_of(episode, key)
            into = rows.setdefault(episode.set, {})
            if episode.index in into:
                raise ConfigError(f"Question {episode.index} of the set {episode.set!r} is there twice.")
            into[episode.index] = (episode.question_id, math.nan if score is None else float(score))
        return cls(key, {name: _arrays(found) for name, found in rows.items()})


def _arrays(found: Mapping[int, tuple[str, float]]) -> tuple[NDArray[np.int64], NDArray[np.str_], Floats]:
    indices = sorted(found)
    return (
        np.array(indices, dtype=np.int64),
        np.array([found[index][0] for index in indices], dtype=np.str_),
        np.array([found[index][1] for index in indices], dtype=np.float64),
    )


def paired_test(
    first: Sequence[PlayedEpisode] | Scores,
    second: Sequence[PlayedEpisode] | Scores,
    key: str = "em",
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two rows on one set's questions; of several sets, on their average with equal weights.

    Args:
        first: The episodes of one row, or their `Scores`.
        second: Those of the other, on the same questions.
        key: Which score; of `Scores`, theirs counts.
        seed: Of the bootstrap and the flips.

    Returns:
        - `difference`: the first's mean less the second's; `ci`: its 95 % interval; `p`: two-sided. None without pairs.
        - `n`: pairs; `only_first`, `only_second`: in how many of them the first, or the second, did better.
        - `test`: "mcnemar" or "sign-flip".

    Raises:
        ConfigError: The two have other sets, or other questions at the same place.
    """
    pairs = _differences(_as_scores(first, key), _as_scores(second, key))
    return _compare(list(pairs.values()), seed)


def paired_by_set(
    first: Sequence[PlayedEpisode] | Scores,
    second: Sequence[PlayedEpisode] | Scores,
    key: str = "em",
    *,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """`paired_test` for each set, by its name, and for the average over sets as "macro" (last)."""
    pairs = _differences(_as_scores(first, key), _as_scores(second, key))
    return {name: _compare([each], seed) for name, each in pairs.items()} | {
        MACRO: _compare(list(pairs.values()), seed)
    }


def _as_scores(given: Sequence[PlayedEpisode] | Scores, key: str) -> Scores:
    return given if isinstance(given, Scores) else Scores.of(given, key)


def _differences(first: Scores, second: Scores) -> dict[str, Floats]:
    """For each set, the first's scores less the second's, where both count."""
    if first.key != second.key:
        raise ConfigError(f"Scores of {first.key!r} can't be compared with those of {second.key!r}.")
    if set(first.sets) != set(second.sets):
        raise ConfigError(
            f"The two are of other sets, {', '.join(first.sets) or 'none'} and {', '.join(second.sets) or 'none'}, and "
            "can't be compared. Run both on the same suite."
        )
    return {name: _pair(name, first.sets[name], second.sets[name]) for name in first.sets}


def _pair(name: str, first: Any, second: Any) -> Floats:
    if np.array_equal(first[0], second[0]):
        at = other = slice(None)
        indices = first[0]
    else:
        indices, at, other = np.intersect1d(first[0], second[0], assume_unique=True, return_indices=True)
    strange = np.flatnonzero(first[1][at] != second[1][other])
    if len(strange):
        where = strange[0]
        raise ConfigError(
            f"Question {indices[where]} of the set {name!r} is {str(first[1][at][where])!r} for the one and "
            f"{str(second[1][other][where])!r} for the other: these aren't the same questions, and can't be paired. "
            "Run both with the same suite and --limit."
        )
    differences: Floats = first[2][at] - second[2][other]
    return differences[~np.isnan(differences)]


def _compare(sets: Sequence[Floats], seed: int) -> dict[str, Any]:
    every = np.concatenate(sets) if sets else np.empty(0)
    only_first, only_second = int((every > 0).sum()), int((every < 0).sum())
    counted = {"n": len(every), "only_first": only_first, "only_second": only_second}
    whole = bool(np.isin(every, (-1.0, 0.0, 1.0)).all())
    test = "mcnemar" if len(sets) == 1 and whole else "sign-flip"
    if not sets or not all(map(len, sets)):
        return {"difference": None, "ci": None, "p": None, **counted, "test": test}
    rng = np.random.default_rng(seed)
    estimate = float(np.mean([each.mean() for each in sets]))
    means = np.mean([_resampled(each, rng) for each in sets], axis=0)
    p = mcnemar_p(only_first, only_second) if test == "mcnemar" else _flip_p(sets, rng)
    return {"difference": estimate, "ci": interval_of(means, estimate), "p": p, **counted, "test": test}


def _resampled(differences: Floats, rng: np.random.Generator) -> Floats:
    if differences.any():
        return bootstrap_means(differences, rng, share=False)
    # No question told them apart, which isn't to say that none would: as in `bootstrap_means`, on either side.
    rare = rng.beta(0.5, len(differences) + 0.5, size=(2, NUM_SAMPLES))
    apart: Floats = rare[0] - rare[1]
    return apart


def mcnemar_p(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test: the chance of so uneven a split of the questions that tell them apart.

    Examples:
        >>> mcnemar_p(1, 5)  # 2 · (1 + 6) / 2**6
        0.21875
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer >= total - 1:
        return 1.0
    steps = np.arange(fewer, dtype=np.float64)
    # log of C(total, k) for k = 0 … fewer, each from the one before
    logs = np.concatenate(([0.0], np.cumsum(np.log(total - steps) - np.log(steps + 1))))
    top = logs.max()
    return float(min(1.0, 2 * math.exp(top + math.log(np.exp(logs - top).sum()) - total * math.log(2))))


def _flip_p(sets: Sequence[Floats], rng: np.random.Generator) -> float:
    """How often random signs give an average at least as far from 0, the seen one counted among them."""
    seen = abs(float(np.mean([each.mean() for each in sets])))
    flipped = np.zeros(NUM_FLIPS)
    for each in sets:
        sizes, counts = np.unique(np.abs(each[each != 0]), return_counts=True)
        for size, count in zip(sizes, counts, strict=True):
            flipped += (2.0 * rng.binomial(count, 0.5, size=NUM_FLIPS) - count) * (size / len(each) / len(sets))
    return float((1 + (np.abs(flipped) >= seen - 1e-12).sum()) / (1 + NUM_FLIPS))
