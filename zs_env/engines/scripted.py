"""A search engine that says what it is told to: the double for tests and experiments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zs_env.types import Document, SearchRequest, SearchResult

__all__ = ["Script", "ScriptedEngine"]

Texts = str | Document | Sequence["str | Document"]
"""What one reply holds: a text, a document, or several."""

Script = str | Mapping[str, Texts] | Sequence[Texts] | Callable[[SearchRequest], "Texts | SearchResult"]
"""Where replies come from: always the same, by query, one after another, or from a function of the request."""


class ScriptedEngine:
    """Answers from a script, fails and waits on demand, and remembers what it was asked.

    Args:
        script: A text that every search finds; a mapping of queries to replies (another query gets no documents); a
            sequence of replies, given in the order of requests and started again at its end; or a function of the
            request. A reply is a text, a `Document` or several of these, cut to `topk`. A function may return a whole
            `SearchResult` instead; what it raises becomes the error of a failed search.
        fail: Queries whose search fails, or a function that says whether a request's does; True for all.
        error: What a failed search says.
        delay_s: How long `search` waits, in seconds. `search_now` doesn't wait.
        name: The engine's name in records.

    Attributes:
        requests: Every request so far, in order.
        batches: How many requests each call brought.

    Examples:
        >>> from zs_env.types import Question
        >>> engine = ScriptedEngine({"capital of France": "The capital of France is Paris."})
        >>> question = Question(id="1", question="What is the capital of France?", golden_answers=("Paris",))
        >>> request = SearchRequest(
        ...     query="capital of France", question=question, quality="useful", noise_probability=0.0, seed=0, topk=5
        ... )
        >>> engine.search_now([request])[0].documents[0].text
        'The capital of France is Paris.'
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        fail: bool | Iterable[str] | Callable[[SearchRequest], bool] = False,
        error: str = "scripted failure",
        delay_s: float = 0.0,
        name: str = "scripted",
    ) -> None:
        self._script: Script = {} if script is None else [script] if isinstance(script, str) else script
        self._fail = fail if isinstance(fail, bool) or callable(fail) else frozenset(fail)
        self._error = error
        self._delay_s = delay_s
        self._name = name
        self.requests: list[SearchRequest] = []
        self.batches: list[int] = []

    @property
    def name(self) -> str:
        """The engine's name in records."""
        return self._name

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request, after the delay."""
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        return self.search_now(requests)

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request at once."""
        self.batches.append(len(requests))
        return [self._answer(request) for request in requests]

    def __copy__(self) -> ScriptedEngine:
        return self

    def __deepcopy__(self, memo: object) -> ScriptedEngine:
        return self

    def _answer(self, request: SearchRequest) -> SearchResult:
        number = len(self.requests)
        self.requests.append(request)
        if self._fails(request):
            return self._failure(self._error)
        reply: Any
        if callable(self._script):
            try:
                reply = self._script(request)
            except Exception as error:  # a script stands for an engine, and engines report failures in their results
                return self._failure(f"{type(error).__name__}: {error}")
        elif isinstance(self._script, Mapping):
            reply = self._script.get(request.query, ())
        else:
            reply = self._script[number % len(self._script)] if self._script else ()
        if isinstance(reply, SearchResult):
            return reply
        texts = (reply,) if isinstance(reply, (str, Document)) else tuple(reply)
        documents = tuple(text if isinstance(text, Document) else Document(text) for text in texts)
        return SearchResult(documents=documents[: request.topk], engine=self._name, latency_s=self._delay_s)

    def _fails(self, request: SearchRequest) -> bool:
        if isinstance(self._fail, bool):
            return self._fail
        return bool(self._fail(request)) if callable(self._fail) else request.query in self._fail

    def _failure(self, error: str) -> SearchResult:
        return SearchResult(documents=(), engine=self._name, error=error, latency_s=self._delay_s)
