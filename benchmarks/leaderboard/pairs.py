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
from benchmarks.leaderboard.intervals import NUM_SAMPLES, acceleration, bootstrap_means, interval_of
from benchmarks.leaderboard.metrics import score_of
from zs_env.errors import ConfigError

__all__ = ["MACRO", "NUM_FLIPS", "Scores", "mcnemar_p", "paired_by_set", "paired_test"]

MACRO = "macro"
NUM_FLIPS = 9_999
_FEW_SIZES = 24

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
    return _compare(list(_sets(first, second, key, seed).values()))


def paired_by_set(
    first: Sequence[PlayedEpisode] | Scores,
    second: Sequence[PlayedEpisode] | Scores,
    key: str = "em",
    *,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """`paired_test` for each set, by its name, and for the average over sets as "macro" (last)."""
    sets = _sets(first, second, key, seed)
    return {name: _compare([each]) for name, each in sets.items()} | {MACRO: _compare(list(sets.values()))}


def _sets(
    first: Sequence[PlayedEpisode] | Scores, second: Sequence[PlayedEpisode] | Scores, key: str, seed: int
) -> dict[str, _Set]:
    pairs = _differences(_as_scores(first, key), _as_scores(second, key))
    return {name: _Set(each, seed, place) for place, (name, each) in enumerate(pairs.items())}


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
    if not np.array_equal(first[0], second[0]):
        _, at, other = np.intersect1d(first[0], second[0], assume_unique=True, return_indices=True)
        first, second = (tuple(each[at] for each in first), tuple(each[other] for each in second))
    strange = np.flatnonzero(first[1] != second[1])
    if len(strange):
        where = strange[0]
        raise ConfigError(
            f"Question {first[0][where]} of the set {name!r} is {str(first[1][where])!r} for the one and "
            f"{str(second[1][where])!r} for the other: these aren't the same questions, and can't be paired. "
            "Run both with the same suite and --limit."
        )
    differences: Floats = first[2] - second[2]
    # Rounded, so that 0.3 - 0.1 is 0.2 - 0.0 and equal differences are drawn together.
    return np.round(differences[~np.isnan(differences)], 12)


class _Set:
    """The differences of one set, with what was drawn for them: the average over sets uses the same draws.

    Args:
        differences: One a pair.
        seed: Of the draws.
        place: Which set of its suite it is, so that two sets don't share their draws.
    """

    def __init__(self, differences: Floats, seed: int, place: int) -> None:
        self.differences = differences
        self.whole = bool(np.isin(differences, (-1.0, 0.0, 1.0)).all())
        self._seed = seed
        self._place = place
        self._means: Floats | None = None
        self._flipped: Floats | None = None

    def __len__(self) -> int:
        return len(self.differences)

    @property
    def mean(self) -> float:
        return float(self.differences.mean())

    def means(self) -> Floats:
        """The means of resampled pairs."""
        if self._means is None:
            rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(0, self._place)))
            self._means = _resampled(self.differences, rng)
        return self._means

    def flipped(self) -> Floats:
        """The means under random signs."""
        if self._flipped is None:
            rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(1, self._place)))
            self._flipped = _flip(self.differences[self.differences != 0], rng) / len(self)
        return self._flipped


def _compare(sets: Sequence[_Set]) -> dict[str, Any]:
    only_first = sum(int((each.differences > 0).sum()) for each in sets)
    only_second = sum(int((each.differences < 0).sum()) for each in sets)
    counted = {"n": sum(map(len, sets)), "only_first": only_first, "only_second": only_second}
    test = "mcnemar" if len(sets) == 1 and sets[0].whole else "sign-flip"
    if not sets or not all(map(len, sets)):
        return {"difference": None, "ci": None, "p": None, **counted, "test": test}
    estimate = float(np.mean([each.mean for each in sets]))
    means = np.mean([each.means() for each in sets], axis=0)
    interval = interval_of(means, estimate, skew=acceleration([each.differences for each in sets]))
    p = mcnemar_p(only_first, only_second) if test == "mcnemar" else _flip_p(sets, estimate)
    return {"difference": estimate, "ci": interval, "p": p, **counted, "test": test}


def _resampled(differences: Floats, rng: np.random.Generator) -> Floats:
    if differences[0] in (-1.0, 1.0) and (differences == differences[0]).all():
        # Every question told them apart, and the same way: as in `bootstrap_means`, that is no certainty either.
        above: Floats = differences[0] * (1.0 - rng.beta(0.5, len(differences) + 0.5, size=NUM_SAMPLES))
        return above
    if differences.any():
        return bootstrap_means(differences, rng, share=False)
    # No question told them apart, which isn't to say that none would: as in `bootstrap_means`, on either side.
    rare = rng.beta(0.5, len(differences) + 0.5, size=(2, NUM_SAMPLES))
    apart: Floats = rare[0] - rare[1]
    return apart


def mcnemar_p(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test: the chance of so uneven a split of the questions that tell them apart.

    Examples:
        >>> round(mcnemar_p(1, 5), 9)  # 2 · (1 + 6) / 2**6
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


def _flip_p(sets: Sequence[_Set], estimate: float) -> float:
    """How often random signs give an average at least as far from 0, the seen one counted among them."""
    flipped = np.mean([each.flipped() for each in sets], axis=0)
    return float((1 + (np.abs(flipped) >= abs(estimate) - 1e-12).sum()) / (1 + NUM_FLIPS))


def _flip(differences: Floats, rng: np.random.Generator) -> Floats:
    """Sums of the differences with random signs: [NUM_FLIPS]. Of equal sizes, the number of pluses is binomial."""
    sizes, counts = np.unique(np.abs(differences), return_counts=True)
    if len(sizes) <= _FEW_SIZES:
        sums: Floats = np.zeros(NUM_FLIPS)
        for size, count in zip(sizes, counts, strict=True):
            sums += (2.0 * rng.binomial(count, 0.5, size=NUM_FLIPS) - count) * size
        return sums
    total = len(differences)
    pluses = np.empty(NUM_FLIPS)
    rows = max(1, 8_000_000 // total)
    for start in range(0, NUM_FLIPS, rows):
        size = min(rows, NUM_FLIPS - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes(size * -(-total // 8)), dtype=np.uint8).reshape(size, -1), axis=1)
        pluses[start : start + size] = bits[:, :total].astype(np.float64) @ differences
    signed: Floats = 2 * pluses - differences.sum()
    return signed
