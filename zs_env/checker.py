"""The contract of search engines, as a test that any engine can be put to.

    from zs_env.checker import check_engine

    check_engine(MyEngine())

It raises `EngineContractError`, which says which rule of `ENGINE_RULES` was broken and how.
"""

from __future__ import annotations

import asyncio
import copy
import json
import math
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from zs_env.errors import EngineContractError
from zs_env.types import Document, Question, SearchEngine, SearchRequest, SearchResult

__all__ = ["ENGINE_RULES", "check_engine", "example_requests"]

T = TypeVar("T")

ENGINE_RULES = MappingProxyType(
    {
        "name": "name is a text that isn't empty",
        "search": "search(requests) is a coroutine that returns a list",
        "empty": "no requests give no results",
        "count": "there is one SearchResult for each request",
        "topk": "a result has at most topk documents",
        "documents": "documents are a tuple of Documents, whose texts and titles can be encoded as UTF-8",
        "fields": "the other fields of a result have the types and ranges that SearchResult states",
        "failures": "a failed search is a result with an error and without documents; nothing is raised",
        "answers": "plain requests are answered, not failed",
        "time": "a call returns in time",
        "mutation": "requests are left as they are",
        "determinism": "equal requests give equal documents",
        "order": "results stand in the order of their requests",
        "mates": "a result doesn't depend on which other requests came with its own",
        "search_now": "search_now, where there is one, gives what search gives",
        "concurrency": "calls at the same time don't mix their requests",
        "loops": "calls from another thread's event loop work too",
        "queries": "any query is answered or fails, whatever its characters and length",
    }
)
"""The rules, by name."""

_ODD_QUERIES = (
    "?",
    "\x00\x01\x02\x1b[31m",
    "🦊 мир 世界 שלום مرحبا",
    "e\u0301\u0301\u0301\u202e\u200d\ufeff\uffff",
    "</information><answer>x</answer><search>y</search>",
    "{} %s {0} \\ \" ' `$(x)` ; --",
    "the " * 5_000,
    "x" * 100_000,
)


def example_requests() -> list[SearchRequest]:
    """Plain requests of both qualities about two questions, each with its own topk and seed."""
    france = Question(id="france", question="What is the capital of France?", golden_answers=("Paris",))
    moon = Question(
        id="moon",
        question="Who first walked on the Moon?",
        golden_answers=("Neil Armstrong", "Armstrong"),
        metadata={"hops": 1},
    )
    asked = [(france, "capital of France"), (moon, "who first walked on the moon"), (france, "France"), (moon, "moon")]
    return [
        SearchRequest(
            query=query,
            question=question,
            quality="useful" if i % 2 == 0 else "noisy",
            noise_probability=0.5,
            seed=i * 7_919,
            topk=1 + i % 5,
        )
        for i, (question, query) in enumerate(asked * 2)
    ]


def check_engine(
    engine: SearchEngine,
    *,
    requests: Sequence[SearchRequest] | None = None,
    deterministic: bool = True,
    allow_errors: bool = False,
    timeout_s: float = 60.0,
) -> None:
    """Check that an engine keeps the contract of `zs_env.types.SearchEngine`.

    Args:
        engine: The engine. It is searched with several dozen requests.
        requests: What to ask it; `example_requests()` if left out. They should differ in query, seed and topk.
        deterministic: Whether equal requests must give equal documents. Without it, the rules "determinism", "order",
            "mates" and "concurrency" can only be checked as far as `topk` shows.
        allow_errors: Whether the given requests may fail, as they do for an engine without its server.
        timeout_s: The longest that one call may take, in seconds.

    Raises:
        EngineContractError: A rule is broken; the message begins with its name.
    """
    asked = list(example_requests() if requests is None else requests)
    if not isinstance(getattr(engine, "name", None), str) or not engine.name:
        _fail("name", f"it is {getattr(engine, 'name', None)!r}")
    check = _Check(engine, deterministic=deterministic, allow_errors=allow_errors, timeout_s=timeout_s)
    _run(lambda: check.on_one_loop(asked))
    _run(lambda: check.on_another_loop(asked))


class _Check:
    """One engine under test."""

    def __init__(self, engine: SearchEngine, *, deterministic: bool, allow_errors: bool, timeout_s: float) -> None:
        self._engine = engine
        self._deterministic = deterministic
        self._allow_errors = allow_errors
        self._timeout_s = timeout_s
        self._expected: list[SearchResult] = []

    async def on_one_loop(self, requests: list[SearchRequest]) -> None:
        if nothing := await self._search([]):
            _fail("empty", f"got {len(nothing)} results")
        for request in requests:
            [result] = self._counted([request], await self._search([request]))
            _check_result(request, result)
            if result.error is not None and not self._allow_errors:
                _fail("answers", f"the query {request.query!r} failed: {result.error}")
            self._expected.append(result)
            again = self._counted([request], await self._search([request]))
            self._compare("determinism", [request], again, [result])
        batch = self._counted(requests, await self._search(requests))
        are_the_same = sorted(map(_content, batch)) == sorted(map(_content, self._expected))
        self._compare("order" if are_the_same else "mates", requests, batch)
        order = list(range(len(requests)))
        random.Random(0).shuffle(order)
        shuffled = self._counted(requests, await self._search([requests[i] for i in order]))
        self._compare("order", requests, [shuffled[order.index(i)] for i in range(len(requests))])
        self._check_search_now(requests)
        halves = [requests[::2], requests[1::2]] * 4
        expected = [self._expected[::2], self._expected[1::2]] * 4
        at_once = await asyncio.gather(*map(self._search, halves))
        for half, results, known in zip(halves, at_once, expected, strict=True):
            self._compare("concurrency", half, self._counted(half, results), known)
        for query in _ODD_QUERIES:
            for quality in ("useful", "noisy"):
                request = replace(requests[0], query=query, quality=quality)
                [result] = self._counted([request], await self._search([request], rule="queries"))
                _check_result(request, result)

    async def on_another_loop(self, requests: list[SearchRequest]) -> None:
        self._compare("loops", requests, self._counted(requests, await self._search(requests, rule="loops")))

    def _check_search_now(self, requests: list[SearchRequest]) -> None:
        search_now = getattr(self._engine, "search_now", None)
        if search_now is None:
            return
        try:
            results = search_now(requests)
        except Exception as error:
            _fail("failures", f"search_now raised {type(error).__name__}: {error}", error)
        self._compare("search_now", requests, self._counted(requests, results))

    async def _search(self, requests: Sequence[SearchRequest], rule: str = "failures") -> list[Any]:
        """Search, and give whatever list comes back."""
        before = copy.deepcopy(list(requests))
        try:
            results = await asyncio.wait_for(self._call(requests, rule), self._timeout_s)
        except TimeoutError:
            _fail("time", f"{len(requests)} requests took more than {self._timeout_s} s")
        if list(requests) != before:
            _fail("mutation", "the requests are not what they were before the search")
        if not isinstance(results, list):
            _fail("search", f"it returned {type(results).__name__}")
        return results

    async def _call(self, requests: Sequence[SearchRequest], rule: str) -> Any:
        pending: Any = None
        try:
            pending = self._engine.search(requests)
            if isinstance(pending, Awaitable):
                return await pending
        except Exception as error:
            query = f" for the query {requests[0].query!r:.80}" if requests else ""
            _fail(rule, f"search raised {type(error).__name__}: {error}{query}", error)
        _fail("search", f"it returned {type(pending).__name__}, which can't be awaited")

    @staticmethod
    def _counted(requests: Sequence[SearchRequest], results: Sequence[Any]) -> list[SearchResult]:
        """The results, once it is sure that there is one a request."""
        if len(results) != len(requests):
            _fail("count", f"{len(requests)} requests got {len(results)} results")
        for result in results:
            if not isinstance(result, SearchResult):
                _fail("count", f"a result is {type(result).__name__}: {result!r:.100}")
        return list(results)

    def _compare(
        self,
        rule: str,
        requests: Sequence[SearchRequest],
        results: Sequence[SearchResult],
        expected: Sequence[SearchResult] | None = None,
    ) -> None:
        known_results = self._expected if expected is None else expected
        for request, result, known in zip(requests, results, known_results, strict=True):
            if self._deterministic and _content(result) != _content(known):
                _fail(
                    rule,
                    f"the query {request.query!r} (seed {request.seed}, topk {request.topk}) got {_shown(known)} "
                    f"before and {_shown(result)} now",
                )
        for request, result in zip(requests, results, strict=True):
            _check_result(request, result)


def _check_result(request: SearchRequest, result: SearchResult) -> None:
    """Check a result by itself."""
    if not isinstance(result.documents, tuple):
        _fail("documents", f"they are {type(result.documents).__name__}")
    if len(result.documents) > request.topk:
        _fail("topk", f"{len(result.documents)} documents for topk={request.topk} and the query {request.query!r:.80}")
    for document in result.documents:
        if not isinstance(document, Document):
            _fail("documents", f"one is {type(document).__name__}: {document!r:.100}")
        if not _is_text(document.text):
            _fail("documents", f"a text is {document.text!r:.100}")
        if document.title is not None and not _is_text(document.title):
            _fail("documents", f"a title is {document.title!r:.100}")
        _check_plain("documents", document.metadata)
    if result.error is not None:
        if not _is_text(result.error) or not result.error:
            _fail("failures", f"an error is {result.error!r:.100}, not a text that says why")
        if result.documents:
            _fail("failures", f"a result has the error {result.error!r:.100} and {len(result.documents)} documents")
    if not _is_text(result.engine) or not result.engine:
        _fail("fields", f"engine is {result.engine!r}")
    if result.supports_query not in (True, False, None):
        _fail("fields", f"supports_query is {result.supports_query!r}")
    for name in ("latency_s", "cost"):
        value = getattr(result, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            _fail("fields", f"{name} is {value!r}, not a finite number that isn't negative")
    if not isinstance(result.cached, bool):
        _fail("fields", f"cached is {result.cached!r}")
    _check_plain("fields", result.metadata)


def _check_plain(rule: str, metadata: Any) -> None:
    if metadata is None:
        return
    try:
        json.dumps(dict(metadata))
    except (TypeError, ValueError) as error:
        _fail(rule, f"metadata isn't a mapping of plain JSON types: {metadata!r:.100} ({error})")


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _content(result: SearchResult) -> str:
    """What must be equal where results must be."""
    return repr((result.documents, result.supports_query, result.error is None))


def _shown(result: SearchResult) -> str:
    first = f", the first {result.documents[0].text!r:.100}" if result.documents else ""
    return f"{len(result.documents)} documents{first}"


def _fail(rule: str, found: str, cause: BaseException | None = None) -> NoReturn:
    raise EngineContractError(f"{rule}: {ENGINE_RULES[rule]}; but {found}.") from cause


def _run(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on an event loop of its own, in a thread of its own, wherever the caller is."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(make()))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="zs_env-checker")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
