"""What a simulator's searches are worth, by itself and beside another that was asked the very same."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zs_env.likeness import copies_of
from zs_env.matching import find_matcher
from zs_env.measuring.cases import Case
from zs_env.measuring.figures import Figures, group_figures, mean_figure, ratio_interval, share_figure
from zs_env.measuring.running import Answered
from zs_env.quality import JudgedSearch, Share, judge, term_weights

__all__ = ["Measured", "compare", "contender_figures", "measure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The searches of one simulator.

    Attributes:
        cases: What was asked.
        answers: What came, in order.
        judged: What it is worth, in order.
    """

    cases: Sequence[Case]
    answers: Sequence[Answered]
    judged: Sequence[JudgedSearch]


def measure(
    cases: Sequence[Case], answers: Sequence[Sequence[Answered]], prompt_texts: Sequence[Sequence[str]]
) -> list[Measured]:
    """Judge what several simulators gave for the same searches, all by the same weights of terms.

    Args:
        cases: What all were asked.
        answers: What each gave.
        prompt_texts: What the prompts of each say.
    """
    searches = [[(case.request, one.result) for case, one in zip(cases, each, strict=True)] for each in answers]
    weights = term_weights(search for each in searches for search in each)
    return [
        Measured(cases=cases, answers=given, judged=judge(each, prompt_texts=texts, weights=weights))
        for given, each, texts in zip(answers, searches, prompt_texts, strict=True)
    ]


def contender_figures(measured: Measured, training_texts: Sequence[str] | None = None) -> Figures:
    """The figures of one simulator.

    Args:
        measured: Its searches.
        training_texts: What the candidate was trained to write, if known: documents that copy it are counted.

    Returns:
        The figures that rules are about, `details` (all that `group_figures` gives), and what else is worth knowing.
    """
    judged = measured.judged
    pairs = _pairs(judged)
    figures = group_figures(measured.cases, measured.answers, judged)["all"]
    both = figures["both"]
    useful = [bool(pair["useful"].holds_answer) for pair in pairs.values()]
    free = [pair["noisy"].holds_answer is False for pair in pairs.values()]
    by_question: dict[str, list[float]] = {}
    for search in judged:
        counts = by_question.setdefault(search.request.question.id, [0.0, 0.0])
        counts[0] += len(search.words)
        counts[1] += search.request.topk
    came, asked = sum(int(n) for n, _ in by_question.values()), sum(int(n) for _, n in by_question.values())
    return {
        "useful_holding": share_figure(Share.of(useful)),
        "noisy_free": share_figure(Share.of(free)),
        "separation": mean_figure([one + other - 1 for one, other in zip(useful, free, strict=True)]),
        "similarity_ratio": figures["similarity_ratio"],
        "similarity": {"useful": figures["useful"]["similarity"], "noisy": figures["noisy"]["similarity"]},
        "repeated": both["repeated"],
        "repeated_elsewhere": both["repeated_elsewhere"],
        "documents": {"value": came / asked, "hits": came, "n": asked, "ci": ratio_interval([*by_question.values()])},
        "words": {"mean": both["mean_words"], "median": both["median_words"]},
        "copied": both["copied"],
        "memorised": _memorised(judged, training_texts),
        "said_back": both["said_back"],
        "short": both["short"],
        "failed": both["failed"],
        "details": figures,
    }


def compare(candidate: Measured, reference: Measured) -> Figures:
    """The candidate beside a simulator that was asked the same.

    Over the questions that can be judged, and where neither search of the reference failed: what failed there must not
    count for the candidate.

    Returns:
        For `separation`, `useful_holding` and `noisy_free`: the means of the `candidate` and the `reference`, and the
        `gain`, with its paired interval. And `useful_similarity`: the candidate's by the reference's.
    """
    mine, other = _pairs(candidate.judged), _pairs(reference.judged)
    ids = [one for one in mine if all(search.holds_answer is not None for search in other[one].values())]
    measures: dict[str, Callable[[Mapping[str, JudgedSearch]], float]] = {
        "separation": lambda pair: _holds(pair) + _is_free(pair) - 1,
        "useful_holding": _holds,
        "noisy_free": _is_free,
    }
    found: Figures = {"num_questions": len(ids), "reference_failed": len(mine) - len(ids)}
    for name, value in measures.items():
        one, two = [value(mine[each]) for each in ids], [value(other[each]) for each in ids]
        found[name] = {
            "candidate": statistics.fmean(one) if one else None,
            "reference": statistics.fmean(two) if two else None,
            "gain": mean_figure([a - b for a, b in zip(one, two, strict=True)]),
        }
    similar = [
        (a.similarity, b.similarity)
        for a, b in zip(candidate.judged, reference.judged, strict=True)
        if a.request.quality == "useful" and a.similarity is not None and b.similarity is not None
    ]
    below = sum(b for _, b in similar)
    found["useful_similarity"] = {
        "value": sum(a for a, _ in similar) / below if below > 0 else None,
        "n": len(similar),
        "ci": ratio_interval(similar),
    }
    return found


def _pairs(judged: Sequence[JudgedSearch]) -> dict[str, dict[str, JudgedSearch]]:
    """The two searches of each question that can be judged, failed or not, by quality."""
    found: dict[str, dict[str, JudgedSearch]] = {}
    for search in judged:
        question = search.request.question
        if find_matcher(tuple(question.golden_answers), question.question).excluded is None:
            found.setdefault(question.id, {})[search.request.quality] = search
    return found


def _holds(pair: Mapping[str, JudgedSearch]) -> float:
    return float(pair["useful"].holds_answer is True)


def _is_free(pair: Mapping[str, JudgedSearch]) -> float:
    return float(pair["noisy"].holds_answer is False)


def _memorised(judged: Sequence[JudgedSearch], training_texts: Sequence[str] | None) -> dict[str, Any]:
    if training_texts is None:
        return {"value": None, "hits": 0, "n": 0, "ci": None}
    owners = [search.request.question.id for search in judged for _ in search.result.documents]
    flags = copies_of([d.text for search in judged for d in search.result.documents], training_texts)
    by_question: dict[str, list[float]] = {}
    for owner, flag in zip(owners, flags, strict=True):
        counts = by_question.setdefault(owner, [0.0, 0.0])
        counts[0] += flag
        counts[1] += 1
    share = Share.of(flags)
    return {"value": share.value, "hits": share.hits, "n": share.n, "ci": ratio_interval([*by_question.values()])}
