"""The records that travel between questions, episodes and search engines.

One request is one record, with its question and its draw inside: never parallel lists that an index can shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from zs_env.errors import QuestionError

__all__ = [
    "Document",
    "Quality",
    "Question",
    "QuestionSource",
    "SearchEngine",
    "SearchRequest",
    "SearchResult",
    "SyncSearchEngine",
]

Quality = Literal["useful", "noisy"]
"""What a search asks of the simulator: documents that help, or documents that don't."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with every answer that counts as right.

    Attributes:
        id: Unique within its source and stable across runs: it groups rollouts and names rows in records.
        question: The question's text, never empty.
        golden_answers: At least one accepted answer, none empty; the first is the one to show. A list becomes a tuple.
        metadata: Anything else that its source knows, of plain JSON types (`hops`, `split`, `data_source`, …).

    Raises:
        QuestionError: One of these is not as said.
    """

    id: str
    question: str
    golden_answers: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        golden = self.golden_answers
        if isinstance(golden, list):
            golden = tuple(golden)
            object.__setattr__(self, "golden_answers", golden)
        if not _is_text(self.id) or not _is_text(self.question):
            raise QuestionError(
                f"A question's id and question are texts that aren't empty; got id={self.id!r:.100}, "
                f"question={self.question!r:.100}."
            )
        if not isinstance(golden, tuple) or not golden or not all(map(_is_text, golden)):
            raise QuestionError(
                f"golden_answers of a question hold at least one text, none of them empty; got {golden!r:.100} for "
                f"{self.question!r:.100}."
            )
        if not isinstance(self.metadata, Mapping):
            raise QuestionError(f"A question's metadata is a mapping; got {self.metadata!r:.100}.")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not value.isspace()


@runtime_checkable
class QuestionSource(Protocol):
    """A sized, indexable collection of questions with a fingerprint of its content."""

    @property
    def name(self) -> str:
        """What the source is called, for example `"atlas"` or a file's name."""

    @property
    def split(self) -> str | None:
        """The split it holds, if it has one."""

    @property
    def fingerprint(self) -> str:
        """A short hash of every question and answer, in order: equal exactly when the content is."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Question: ...


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a search result.

    Attributes:
        text: The document's text, as the engine wrote it; it is escaped where it is rendered, not here.
        title: Its title, where the engine has one.
        metadata: Anything else of plain JSON types (`url`, `score`, …); never shown to the policy.
    """

    text: str
    title: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One search of one episode: everything that an engine may know.

    Attributes:
        query: What the policy asked for, stripped, never empty.
        question: The episode's question. Golden answers are for simulators; real engines must not read them.
        quality: The quality drawn for this search. Real engines ignore it.
        noise_probability: The probability with which `"noisy"` was drawn, in [0, 1].
        seed: The draw of this search, in [0, 2**63). A simulator's randomness comes from here alone, so equal requests
            give equal documents and a repeated query, which draws again, may not.
        topk: How many documents are wanted, at least 1.
    """

    query: str
    question: Question
    quality: Quality
    noise_probability: float
    seed: int
    topk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What an engine gives back for one request.

    Attributes:
        documents: At most `topk` documents, best first.
        engine: The name of the engine that answered.
        supports_query: Whether the documents hold what the *query* asked for; None where the engine can't know.
        error: Why the search failed; None if it did not. A failed search has no documents.
        latency_s: Seconds that the search took, as the engine measured it.
        cost: What the search cost, in the unit of the engine's price table (0.0 if free).
        cached: Whether it came from a cache.
        metadata: Anything else of plain JSON types (`tries`, `quality_checked`, …).
    """

    documents: tuple[Document, ...]
    engine: str
    supports_query: bool | None = None
    error: str | None = None
    latency_s: float = 0.0
    cost: float = 0.0
    cached: bool = False
    metadata: Mapping[str, Any] | None = None


@runtime_checkable
class SearchEngine(Protocol):
    """Whatever answers a search: a template, a language model, an index, a web API.

    An engine is shared by all environments, from several threads' event loops if need be.
    """

    @property
    def name(self) -> str:
        """The engine's name in records."""

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request: one result a request, in order, failures inside the results."""


@runtime_checkable
class SyncSearchEngine(SearchEngine, Protocol):
    """An engine that never waits: it can be called directly, without an event loop."""

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """The same as `search`, at once."""
