"""A search engine over an index: what `bm25` and `dense` have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from zs_env.engines.retrieval.corpus import Passages
from zs_env.errors import ZeroSearchError
from zs_env.types import Document, SearchRequest, SearchResult

__all__ = ["Index", "RetrievalEngine"]

_DIRECT_PASSAGES = 20_000
"""Below so many passages (times requests), a search is over before a thread would have begun."""

_DIGITS = 6


class Index(Protocol):
    """What finds passages."""

    @property
    def block(self) -> int:
        """How many requests are best answered together."""

    def search(self, queries: Sequence[str], topk: Sequence[int]) -> Sequence[Sequence[tuple[int, float]]]:
        """Positions of passages and their scores, best first, for each query."""


class RetrievalEngine:
    """Answers searches from the passages of a corpus.

    It looks at a request's query and `topk` alone: the question, its golden answers and the drawn quality are nothing
    to it. A query that finds nothing has a result without documents, which is no failure. Documents have the
    metadata `id` and `score`.

    An engine may be shared by any number of environments, threads and forked processes; copies are the engine itself.

    Args:
        name: The search mode.
        index: What finds passages.
        passages: The passages.
        fingerprint: A text that differs where answers may.
        remake: A function and its options that make this engine in another process.

    Attributes:
        uses_draw: False: a cache need ask a query but once.
    """

    uses_draw = False

    def __init__(
        self,
        name: str,
        index: Index,
        passages: Passages,
        *,
        fingerprint: str,
        remake: tuple[Callable[..., Any], Mapping[str, Any]],
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self._index = index
        self._passages = passages
        self._remake = remake

    def __len__(self) -> int:
        """How many passages there are."""
        return len(self._passages)

    def __bool__(self) -> bool:
        return True

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request; what takes long is done in a thread, so that the event loop goes on."""
        if len(requests) * len(self._passages) <= _DIRECT_PASSAGES:
            return self.search_now(requests)
        return await asyncio.to_thread(self.search_now, requests)

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request at once."""
        results: list[SearchResult] = []
        for start in range(0, len(requests), self._index.block):
            results += self._answer(requests[start : start + self._index.block])
        return results

    def _answer(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        began = time.perf_counter()
        found: list[tuple[Document, ...]] = []
        error: str | None = None
        try:
            hits = self._index.search([request.query for request in requests], [request.topk for request in requests])
            found = [tuple(self._document(*hit) for hit in some) for some in hits]
        except (OSError, ValueError, IndexError, MemoryError, ZeroSearchError) as raised:
            error = f"{type(raised).__name__}: {raised}"
            found = [()] * len(requests)
        latency_s = time.perf_counter() - began
        return [
            SearchResult(documents=documents, engine=self.name, error=error, latency_s=latency_s) for documents in found
        ]

    def _document(self, position: int, score: float) -> Document:
        passage = self._passages[position]
        return Document(passage.text, passage.title, {"id": passage.id, "score": round(score, _DIGITS)})

    def __copy__(self) -> RetrievalEngine:
        return self

    def __deepcopy__(self, memo: object) -> RetrievalEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        make, options = self._remake
        return _made, (make, dict(options))


def _made(make: Callable[..., RetrievalEngine], options: Mapping[str, Any]) -> RetrievalEngine:
    return make(**options)
