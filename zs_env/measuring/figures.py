"""From answers to figures with intervals.

A figure is a mapping in plain JSON types: `value`, of shares also `hits` and `n`, and `ci`, its interval of 95 %, or
None where there is none. Shares of searches have Wilson's interval. Shares of documents, ratios and means have a
bootstrap over questions, which are what was drawn: the documents of one question aren't independent.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zs_env.engines.around.keys import without_secrets
from zs_env.intervals import wilson_interval
from zs_env.measuring.cases import QUALITIES, Case
from zs_env.measuring.running import Answered
from zs_env.quality import JudgedSearch, QualityReport, Share, report

__all__ = ["Figures", "group_figures", "mean_figure", "of_documents", "ratio_interval", "share_figure"]

_RESAMPLES = 2_000
_SERVER = re.compile(r"https?://[^\s'\"),;]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b")

Figures = dict[str, Any]


def group_figures(cases: Sequence[Case], answers: Sequence[Answered], judged: Sequence[JudgedSearch]) -> Figures:
    """The figures of "all" questions, of "single_hop" and of "multi_hop" ones, as far as there are any."""
    rows = list(zip(cases, answers, judged, strict=True))
    groups = {
        "all": rows,
        "single_hop": [row for row in rows if not row[0].multi_hop],
        "multi_hop": [row for row in rows if row[0].multi_hop],
    }
    return {name: _figures(group) for name, group in groups.items() if group}


def _figures(rows: Sequence[tuple[Case, Answered, JudgedSearch]]) -> Figures:
    found: Figures = {"num_questions": len({case.request.question.id for case, _, _ in rows})}
    for quality in QUALITIES:
        found[quality] = _of_some([row for row in rows if row[0].request.quality == quality])
    found["both"] = _of_some(rows)
    judged = [search for _, _, search in rows]
    found["similarity_ratio"] = _paired_ratio(judged, lambda search: search.similarity)
    found["meaning_ratio"] = _paired_ratio(judged, lambda search: search.meaning)
    return found


def _of_some(rows: Sequence[tuple[Case, Answered, JudgedSearch]]) -> Figures:
    judged = [search for _, _, search in rows]
    every = report(judged)
    figures = _of_quality(every, judged)
    figures["of_delivered"] = _of_answers(report([search for search in judged if search.delivered]))
    return figures | _effort([answered for _, answered, _ in rows])


def _of_answers(found: QualityReport) -> Figures:
    """What hangs on golden answers."""
    return {
        "holding": share_figure(found.holding),
        "free": share_figure(found.free),
        "free_of_hints": share_figure(found.free_of_hints),
        "holding_literally": share_figure(found.holding_literally),
        "documents_holding": _plain_share(found.documents_holding),
        "excluded": dict(found.excluded),
    }


def _of_quality(found: QualityReport, judged: Sequence[JudgedSearch]) -> Figures:
    errors: Counter[str] = Counter()
    for error, count in found.errors.items():
        errors[_SERVER.sub("<server>", without_secrets(error))[:200]] += count
    return {
        "num_searches": found.num_searches,
        "failed": share_figure(found.failed),
        "errors": dict(errors.most_common(10)),
        "delivered": share_figure(found.delivered),
        **_of_answers(found),
        "supporting": share_figure(found.supporting),
        "documents": _plain_share(found.documents),
        "similarity": found.similarity,
        "meaning": found.meaning,
        "mean_words": found.mean_words,
        "median_words": found.median_words,
        "distinct_1": found.distinct_1,
        "distinct_2": found.distinct_2,
        "repeated": of_documents(judged, lambda search: search.repeated),
        "repeated_elsewhere": of_documents(judged, lambda search: search.repeated_elsewhere),
        "copied": of_documents(judged, lambda search: search.copied),
        "said_back": of_documents(judged, lambda search: search.said_back),
        "short": of_documents(judged, lambda search: search.short),
    }


def _plain_share(share: Share) -> Figures:
    return {"value": share.value, "hits": share.hits, "n": share.n}


def share_figure(share: Share) -> Figures:
    """A share of searches, with Wilson's interval."""
    interval = [*wilson_interval(share.hits, share.n)] if share.n else None
    return {**_plain_share(share), "ci": interval}


def of_documents(judged: Sequence[JudgedSearch], count: Callable[[JudgedSearch], int]) -> Figures:
    """A share of documents; its interval takes questions for independent, not documents."""
    by_question: dict[str, list[float]] = {}
    for search in judged:
        if search.words:
            pair = by_question.setdefault(search.request.question.id, [0.0, 0.0])
            pair[0] += count(search)
            pair[1] += len(search.words)
    found = Share(sum(int(hits) for hits, _ in by_question.values()), sum(int(n) for _, n in by_question.values()))
    return {**_plain_share(found), "ci": ratio_interval([*by_question.values()])}


def _paired_ratio(judged: Sequence[JudgedSearch], measure: Callable[[JudgedSearch], float | None]) -> Figures:
    """The mean of noisy searches by that of useful ones, over the questions that have both."""
    by_question: dict[str, dict[str, float]] = {}
    for search in judged:
        value = measure(search)
        if value is not None:
            by_question.setdefault(search.request.question.id, {})[search.request.quality] = value
    pairs = [(found["noisy"], found["useful"]) for found in by_question.values() if len(found) == len(QUALITIES)]
    below = math.fsum(useful for _, useful in pairs)
    value = math.fsum(noisy for noisy, _ in pairs) / below if below > 0 else None
    return {"value": value, "n": len(pairs), "ci": ratio_interval(pairs)}


def ratio_interval(pairs: Sequence[Sequence[float]]) -> list[float] | None:
    """The 95 % bootstrap interval (percentiles of 2,000 resamples of the pairs) of a ratio of sums.

    Args:
        pairs: What is added above and below the line, a pair for each question.

    Returns:
        The interval; None for fewer than two pairs, or where nothing is below the line.

    Examples:
        >>> ratio_interval([(1, 2), (2, 4), (3, 6)])
        [0.5, 0.5]
    """
    if len(pairs) < 2:
        return None
    sums = _resamples(len(pairs)) @ np.asarray(pairs, dtype=float)
    sums = sums[sums[:, 1] > 0]
    if not len(sums):
        return None
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [2.5, 97.5])
    return [float(low), float(high)]


def mean_figure(values: Sequence[float]) -> Figures:
    """The mean of a value for each question, with its interval.

    Examples:
        >>> mean_figure([1, 1, 1])
        {'value': 1.0, 'n': 3, 'ci': [1.0, 1.0]}
    """
    value = math.fsum(values) / len(values) if values else None
    return {"value": value, "n": len(values), "ci": ratio_interval([(each, 1.0) for each in values])}


@lru_cache(maxsize=3)
def _resamples(num_pairs: int) -> NDArray[np.float64]:
    """How often each resample holds each pair."""
    rng = np.random.default_rng(0)
    return rng.multinomial(num_pairs, np.full(num_pairs, 1 / num_pairs), size=_RESAMPLES).astype(float)


def _effort(answers: Sequence[Answered]) -> Figures:
    """What the searches took: tries, tokens, money, time."""
    metadata = [answered.result.metadata or {} for answered in answers]
    tries = Counter(tried for each in metadata if (tried := _whole(each, "tries")))
    seconds = [answered.seconds for answered in answers]
    latency = {f"p{share}": float(np.percentile(seconds, share)) for share in (50, 95, 99)} if seconds else {}
    return {
        "tries": {str(count): tries[count] for count in sorted(tries)},
        "documents_dropped": sum(_whole(each, "documents_dropped") for each in metadata),
        "cut": sum(_whole(each, "cut") for each in metadata),
        "latency_s": latency,
        "input_tokens_per_1000": _per_1000([_whole(each, "input_tokens") for each in metadata]),
        "output_tokens_per_1000": _per_1000([_whole(each, "output_tokens") for each in metadata]),
        "cost_per_1000": _per_1000([answered.result.cost for answered in answers]),
    }


def _whole(metadata: Mapping[str, Any], name: str) -> int:
    value = metadata.get(name)
    return value if isinstance(value, int) else 0


def _per_1000(values: Sequence[float]) -> Figures:
    mean = math.fsum(values) / len(values) if values else 0.0
    interval = ratio_interval([(value, 1.0) for value in values]) if any(values) else None
    return {"value": 1000 * mean, "ci": None if interval is None else [1000 * end for end in interval]}
