"""Tells useful documents from noisy ones: by a golden answer in them, by a model's judgement, or by both.

Everything here is a pure function; `zs_env.tuning.judging` asks the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from zs_env.intervals import wilson_interval
from zs_env.matching import find_matcher
from zs_env.tuning.records import CollectedSearch, Label, LabelledSearch
from zs_env.types import Document

__all__ = ["Agreement", "By", "Prefer", "find_agreement", "holds_answer", "label_search", "summarise", "whole_text"]

By = Literal["answer", "judge", "both"]
Prefer = Literal["answer", "judge"]

_EXAMPLE_CHARS = 300


def whole_text(document: Document) -> str:
    """A document with its title, as one text."""
    return document.text if document.title is None else f"{document.title}\n{document.text}"


def holds_answer(search: CollectedSearch) -> tuple[list[bool | None], str | None]:
    """For each document whether it holds a golden answer, title included; and why that can't be told, if it can't."""
    matcher = find_matcher(tuple(search.question.golden_answers), search.question.question)
    return [matcher.is_held(whole_text(document)) for document in search.documents], matcher.excluded


def label_search(
    search: CollectedSearch,
    by: By,
    verdicts: Sequence[bool | None] | None = None,
    *,
    why_not: Sequence[str | None] | None = None,
    prefer: Prefer | None = None,
) -> LabelledSearch:
    """Label each document of a search.

    Args:
        search: The search.
        by: What decides. With "both", a document gets a label where they agree.
        verdicts: What a model judged of each document; None where it gave no verdict. Left out where none was asked.
        why_not: Why it gave none, for each document.
        prefer: With "both", whose word counts where they disagree or one of them can't tell.

    Returns:
        The search with a label for each document.
    """
    by_answer, excluded = holds_answer(search)
    judged = [None] * len(search.documents) if verdicts is None else verdicts
    reasons = [None] * len(search.documents) if why_not is None else why_not
    labels = []
    for held, helps, reason in zip(by_answer, judged, reasons, strict=True):
        unjudged = reason or "no verdict"
        why: str | None = None
        if by == "answer":
            decided, why = held, excluded
        elif by == "judge":
            decided, why = helps, unjudged
        else:
            first, second = (held, helps) if prefer != "judge" else (helps, held)
            if prefer is not None:
                decided = second if first is None else first
            else:
                decided = first if first is second else None
            both = held is not None and helps is not None
            why = "disagreement" if both else (excluded if held is None else unjudged)
        quality: Any = None if decided is None else "useful" if decided else "noisy"
        labels.append(Label(quality=quality, by_answer=held, by_judge=helps, why=why if quality is None else None))
    return LabelledSearch(search=search, labels=tuple(labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far a model's verdicts go with golden answers, of the documents of which both tell something.

    Attributes:
        both_useful: Documents that hold an answer and were judged useful.
        answer_alone: Documents that hold one and were judged noisy.
        judge_alone: Documents that hold none and were judged useful.
        both_noisy: Documents that hold none and were judged noisy.
        examples: Some of those on which they disagree.
    """

    both_useful: int
    answer_alone: int
    judge_alone: int
    both_noisy: int
    examples: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def num_documents(self) -> int:
        """How many documents both tell something of."""
        return self.both_useful + self.answer_alone + self.judge_alone + self.both_noisy

    @property
    def raw(self) -> float | None:
        """The share on which they agree; None of nothing."""
        return (self.both_useful + self.both_noisy) / self.num_documents if self.num_documents else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa (1960): (raw - chance) / (1 - chance).

        `chance` is what two that call as many documents useful as these do, and know nothing of each other, would
        agree on. None where that is everything, as if both call all documents noisy.
        """
        n, raw = self.num_documents, self.raw
        if raw is None:
            return None
        answer, judge = self.both_useful + self.answer_alone, self.both_useful + self.judge_alone
        chance = (answer * judge + (n - answer) * (n - judge)) / (n * n)
        return None if chance == 1.0 else (raw - chance) / (1.0 - chance)

    @property
    def meaning(self) -> str:
        """What kappa says, in the words of Landis and Koch (1977), which are a convention."""
        kappa = self.kappa
        if kappa is None:
            return "nothing: one label is all that there is"
        for limit, word in ((0.0, "no better than chance"), (0.2, "slight"), (0.4, "fair"), (0.6, "moderate")):
            if kappa <= limit:
                return word
        return "substantial" if kappa <= 0.8 else "almost perfect"

    def to_json(self) -> dict[str, Any]:
        """Counts, shares and examples, in plain JSON types."""
        agreed = self.both_useful + self.both_noisy
        return {
            "num_documents": self.num_documents,
            "both_useful": self.both_useful,
            "answer_alone": self.answer_alone,
            "judge_alone": self.judge_alone,
            "both_noisy": self.both_noisy,
            "raw": self.raw,
            "raw_interval": list(wilson_interval(agreed, self.num_documents)),
            "kappa": self.kappa,
            "meaning": self.meaning,
            "examples": [dict(example) for example in self.examples],
        }


def find_agreement(labelled: Sequence[LabelledSearch], *, num_examples: int = 5) -> Agreement:
    """Compare the two ways to label, over all documents of which both tell something.

    Args:
        labelled: The searches.
        num_examples: The most examples of each kind of disagreement.
    """
    counts: Counter[tuple[bool, bool]] = Counter()
    examples: list[dict[str, Any]] = []
    for one in labelled:
        for document, label in zip(one.search.documents, one.labels, strict=True):
            if label.by_answer is None or label.by_judge is None:
                continue
            kind = label.by_answer, label.by_judge
            counts[kind] += 1
            if label.by_answer is not label.by_judge and counts[kind] <= num_examples:
                examples.append(
                    {
                        "question": one.search.question.question,
                        "golden_answers": list(one.search.question.golden_answers),
                        "query": one.search.query,
                        "document": whole_text(document)[:_EXAMPLE_CHARS],
                        "by_answer": label.by_answer,
                        "by_judge": label.by_judge,
                    }
                )
    return Agreement(
        both_useful=counts[True, True],
        answer_alone=counts[True, False],
        judge_alone=counts[False, True],
        both_noisy=counts[False, False],
        examples=tuple(examples),
    )


def summarise(labelled: Sequence[LabelledSearch]) -> dict[str, Any]:
    """Counts of labelled searches, in plain JSON types.

    `searches_useful` are searches with a useful document, `searches_noisy` those with noisy ones alone,
    `searches_unlabelled` those with no label at all. `useful_when_right` and `useful_when_wrong` are the documents that
    are useful, and all that have a label, of episodes with a right answer and of those without.
    """
    labels = [label for one in labelled for label in one.labels]
    useful = [any(label.quality == "useful" for label in one.labels) for one in labelled]
    unlabelled = [all(label.quality is None for label in one.labels) for one in labelled]
    counts: dict[str, Any] = {
        "num_searches": len(labelled),
        "searches_useful": sum(useful),
        "searches_noisy": len(labelled) - sum(useful) - sum(unlabelled),
        "searches_unlabelled": sum(unlabelled),
        "num_documents": len(labels),
        "documents_useful": sum(label.quality == "useful" for label in labels),
        "documents_noisy": sum(label.quality == "noisy" for label in labels),
        "documents_unlabelled": sum(label.quality is None for label in labels),
        "why": dict(Counter(label.why for label in labels if label.why is not None).most_common()),
    }
    for name, ended in (("right", True), ("wrong", False)):
        told = [
            label.quality
            for one in labelled
            if one.search.exact_match is ended
            for label in one.labels
            if label.quality is not None
        ]
        if told:
            counts[f"useful_when_{name}"] = [told.count("useful"), len(told)]
    return counts
