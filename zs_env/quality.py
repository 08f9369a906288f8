"""What a set of search results is worth: pure functions of requests and their results.

    judged = judge([(request, result), …])    # each search by itself and among the others
    report(judged)                            # shares and means of all of them, or of any part

Golden answers are looked for by `zs_env.matching`, not by the check that a simulated engine makes of itself. A share
says of how many it is one: where an answer means nothing to look for, a search is left out and counted.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from zs_env.likeness import TermWeights, copied_run, distinct_share, near_repeats, says_back, words_of
from zs_env.matching import find_matcher
from zs_env.types import Document, SearchRequest, SearchResult

__all__ = ["JudgedSearch", "QualityReport", "Share", "judge", "report", "term_weights", "was_delivered"]

Search = tuple[SearchRequest, SearchResult]

SHORT = 5
"""A document of fewer words says next to nothing."""

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""How near to a query each of some documents is in meaning, in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """The share, in [0, 1]; None of nothing."""
        return self.hits / self.n if self.n else None

    @staticmethod
    def of(verdicts: Iterable[bool | None]) -> Share:
        """Those that are true among those that aren't None."""
        known = [verdict for verdict in verdicts if verdict is not None]
        return Share(sum(known), len(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedSearch:
    """What one search's documents are.

    Attributes:
        request: What was asked.
        result: What came.
        delivered: Whether documents came that the engine itself says are what was asked for.
        holds_answer: Whether a document holds a golden answer in any form; None if the search failed, or that can't be
            told.
        holds_literally: The same by DPR's rule alone.
        holds_hint: Whether a document holds a telling word of a golden answer, as a surname.
        excluded: Why it can't be told, if so.
        documents_holding: How many documents hold one; 0 where that can't be told.
        similarity: The mean cosine of the query's and each document's weighted terms; None without documents.
        meaning: The mean similarity by embeddings, where these are given.
        words: The number of words of each document.
        repeated: Documents that nearly repeat an earlier one of the same result.
        repeated_elsewhere: Documents that nearly repeat one of an earlier search for another question.
        copied: Documents that copy words from the prompt.
        said_back: Documents that say back the whole query or question.
        short: Documents of fewer than `SHORT` words.
    """

    request: SearchRequest
    result: SearchResult
    delivered: bool
    holds_answer: bool | None
    holds_literally: bool | None
    holds_hint: bool | None
    excluded: str | None
    documents_holding: int
    similarity: float | None
    meaning: float | None
    words: tuple[int, ...]
    repeated: int
    repeated_elsewhere: int
    copied: int
    said_back: int
    short: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """What a set of judged searches is worth.

    Attributes:
        num_searches: How many.
        failed: Searches with an error.
        delivered: Searches whose documents the engine itself says are what was asked for.
        holding: Searches that hold a golden answer, of those that didn't fail and where that can be told.
        holding_literally: The same by DPR's rule alone.
        free: Searches that hold none, of the same.
        free_of_hints: Searches that don't hold a telling word of one either.
        excluded: Why it can't be told, and how often.
        supporting: Searches of which the engine says that they hold what the query asked for, where it knows.
        documents: Documents that came, of those that were asked for by searches that didn't fail.
        documents_holding: Documents that hold a golden answer, where that can be told.
        similarity: Mean over searches of the query's similarity to the documents.
        meaning: The same by embeddings.
        mean_words: Words a document, mean.
        median_words: Words a document, median.
        distinct_1: Different words by all words of all documents. It falls as a set grows.
        distinct_2: Different pairs of words by all pairs.
        repeated: Documents that nearly repeat an earlier one of the same result.
        repeated_elsewhere: Documents that nearly repeat one of an earlier search for another question.
        copied: Documents that copy words from the prompt.
        said_back: Documents that say back the whole query or question.
        short: Documents of fewer than `SHORT` words.
        errors: What failed searches say, and how often, the most frequent first.
    """

    num_searches: int
    failed: Share
    delivered: Share
    holding: Share
    holding_literally: Share
    free: Share
    free_of_hints: Share
    excluded: Mapping[str, int] = field(default_factory=dict)
    supporting: Share
    documents: Share
    documents_holding: Share
    similarity: float | None
    meaning: float | None
    mean_words: float | None
    median_words: float | None
    distinct_1: float | None
    distinct_2: float | None
    repeated: Share
    repeated_elsewhere: Share
    copied: Share
    said_back: Share
    short: Share
    errors: Mapping[str, int] = field(default_factory=dict)


def was_delivered(result: SearchResult) -> bool:
    """Whether documents came that the engine itself says are what was asked for (or doesn't say aren't)."""
    return (
        result.error is None and bool(result.documents) and (result.metadata or {}).get("quality_checked") is not False
    )


def term_weights(searches: Iterable[Search]) -> TermWeights:
    """How much each term tells among some searches; those of several engines together are measured by the same."""
    given = list(searches)
    texts = ("\n".join(map(_whole, result.documents)) for _, result in given)
    return TermWeights([*(request.query for request, _ in given), *texts])


def judge(
    searches: Sequence[Search],
    *,
    prompt_texts: Sequence[str] = (),
    meaning: Similarity | None = None,
    weights: TermWeights | None = None,
) -> list[JudgedSearch]:
    """Judge searches, each by itself and among the others.

    Terms are weighted, and repeats looked for, over all of the searches given: judge them together, then `report` on
    parts.

    Args:
        searches: Requests with their results.
        prompt_texts: What a simulator's prompts say; documents that copy from it are counted.
        meaning: Similarity by embeddings, if wanted.
        weights: What terms are weighted by, in place of these searches: `term_weights` of several engines' searches.
    """
    texts = [[_whole(document) for document in result.documents] for _, result in searches]
    weights = term_weights(searches) if weights is None else weights
    repeats = _repeats([request.question.id for request, _ in searches], [*map(_bodies, searches)])
    return [
        _judge_one(request, result, each, weights, repeat, prompt_texts, meaning)
        for (request, result), each, repeat in zip(searches, texts, repeats, strict=True)
    ]


def _whole(document: Document) -> str:
    return document.text if document.title is None else f"{document.title}\n{document.text}"


def _bodies(search: Search) -> list[str]:
    return [document.text for document in search[1].documents]


def _repeats(questions: Sequence[str], texts: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """For each search, its documents that repeat one of its own, and those that repeat another question's."""
    owners = [at for at, each in enumerate(texts) for _ in each]
    found = near_repeats([text for each in texts for text in each])
    within, elsewhere = Counter[int](), Counter[int]()
    for owner, earlier in zip(owners, found, strict=True):
        within[owner] += any(owners[one] == owner for one in earlier)
        elsewhere[owner] += any(questions[owners[one]] != questions[owner] for one in earlier)
    return [(within[at], elsewhere[at]) for at in range(len(texts))]


def _judge_one(
    request: SearchRequest,
    result: SearchResult,
    texts: Sequence[str],
    weights: TermWeights,
    repeats: tuple[int, int],
    prompt_texts: Sequence[str],
    meaning: Similarity | None,
) -> JudgedSearch:
    matcher = find_matcher(tuple(request.question.golden_answers), request.question.question)
    came = result.error is None
    held = [bool(matcher.is_held(text)) for text in texts]
    literally = [bool(matcher.is_literally_held(text)) for text in texts]
    asked = (request.query, request.question.question)
    can_tell = came and matcher.excluded is None
    return JudgedSearch(
        request=request,
        result=result,
        delivered=was_delivered(result),
        holds_answer=any(held) if can_tell else None,
        holds_literally=any(literally) if can_tell else None,
        holds_hint=any(map(matcher.is_hinted, texts)) if can_tell else None,
        excluded=matcher.excluded if came else None,
        documents_holding=sum(held) if can_tell else 0,
        similarity=_mean([weights.similarity(request.query, text) for text in texts]),
        meaning=None if meaning is None or not texts else _mean(meaning(request.query, texts)),
        words=tuple(len(words_of(document.text)) for document in result.documents),
        repeated=repeats[0],
        repeated_elsewhere=repeats[1],
        copied=sum(copied_run(document.text, prompt_texts) for document in result.documents),
        said_back=sum(any(says_back(document.text, said) for said in asked) for document in result.documents),
        short=sum(len(words_of(document.text)) < SHORT for document in result.documents),
    )


def report(judged: Sequence[JudgedSearch]) -> QualityReport:
    """Shares and means of judged searches."""
    came = [search for search in judged if search.result.error is None]
    told = [search for search in came if search.holds_answer is not None]
    holding = Share.of(search.holds_answer for search in told)
    documents = sum(len(search.words) for search in came)
    words = [count for search in came for count in search.words]
    texts = [document.text for search in came for document in search.result.documents]
    errors = Counter(search.result.error for search in judged if search.result.error is not None)
    return QualityReport(
        num_searches=len(judged),
        failed=Share(len(judged) - len(came), len(judged)),
        delivered=Share.of(search.delivered for search in judged),
        holding=holding,
        holding_literally=Share.of(search.holds_literally for search in told),
        free=Share(holding.n - holding.hits, holding.n),
        free_of_hints=Share.of(not (search.holds_answer or search.holds_hint) for search in told),
        excluded=dict(Counter(search.excluded for search in came if search.excluded is not None).most_common()),
        supporting=Share.of(search.result.supports_query for search in came),
        documents=Share(documents, sum(search.request.topk for search in came)),
        documents_holding=Share(sum(s.documents_holding for s in told), sum(len(s.words) for s in told)),
        similarity=_mean([search.similarity for search in came if search.similarity is not None]),
        meaning=_mean([search.meaning for search in came if search.meaning is not None]),
        mean_words=_mean(words),
        median_words=statistics.median(words) if words else None,
        distinct_1=distinct_share(texts, 1),
        distinct_2=distinct_share(texts, 2),
        repeated=Share(sum(search.repeated for search in came), documents),
        repeated_elsewhere=Share(sum(search.repeated_elsewhere for search in came), documents),
        copied=Share(sum(search.copied for search in came), documents),
        said_back=Share(sum(search.said_back for search in came), documents),
        short=Share(sum(search.short for search in came), documents),
        errors=dict(errors.most_common()),
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
