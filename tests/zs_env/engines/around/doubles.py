"""Time that only moves when told to, and engines that a test holds in its hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from zs_env.types import Document, Question, SearchRequest, SearchResult

T = TypeVar("T")

QUESTION = Question(id="1", question="What is the capital of France?", golden_answers=("Paris",))


def request(query: str = "capital of France", **changes: Any) -> SearchRequest:
    given: dict[str, Any] = {
        "query": query,
        "question": QUESTION,
        "quality": "useful",
        "noise_probability": 0.0,
        "seed": 0,
        "topk": 5,
    }
    return SearchRequest(**given | changes)


def good(query: str, **changes: Any) -> SearchResult:
    given: dict[str, Any] = {"documents": (Document(f"About {query}."),), "engine": "double"}
    return SearchResult(**given | changes)


def bad(error: str = "down", **changes: Any) -> SearchResult:
    given: dict[str, Any] = {"documents": (), "engine": "double", "error": error}
    return SearchResult(**given | changes)


def texts(results: Sequence[SearchResult]) -> list[Any]:
    """The first document of each result, or its error."""
    return [result.error or result.documents[0].text for result in results]


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(60):
        await asyncio.sleep(0)


class FakeTime:
    """A clock that stands still, and sleepers that wake when it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._number), future))
        await future

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work; whenever everybody waits, time goes on to the next sleeper."""

        async def main() -> T:
            task, idle = asyncio.ensure_future(work), 0
            while True:
                await settle()
                if task.done():
                    return task.result()
                if not self._sleepers:
                    idle += 1
                    assert idle < 10, "Nobody will ever wake up."
                    continue
                until, _, future = heapq.heappop(self._sleepers)
                if not future.done():
                    self.now = max(self.now, until)
                    future.set_result(None)

        return asyncio.run(main())


class Held:
    """An engine whose every call waits until the test lets it go; it may be called from several threads' loops.

    Attributes:
        calls: The queries of each call, in order.
        under_way: Requests that are being answered.
        most: The most there were at the same time.
        cancelled: The queries of calls that were cancelled.
    """

    name = "double"

    def __init__(self, answer: Callable[[SearchRequest], SearchResult] | None = None) -> None:
        self._answer = answer or (lambda asked: good(asked.query))
        self._lock = threading.Lock()
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self.calls: list[list[str]] = []
        self.cancelled: list[str] = []
        self.under_way = self.most = 0

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self.calls.append([asked.query for asked in requests])
            self._held.append((loop, future))
            self.under_way += len(requests)
            self.most = max(self.most, self.under_way)
        try:
            await future
        except asyncio.CancelledError:
            self.cancelled += [asked.query for asked in requests]
            raise
        finally:
            with self._lock:
                self.under_way -= len(requests)
        return [self._answer(asked) for asked in requests]

    def let_go(self) -> bool:
        """Let the oldest call go on."""
        with self._lock:
            if not self._held:
                return False
            loop, future = self._held.pop(0)
        loop.call_soon_threadsafe(lambda: future.done() or future.set_result(None))
        return True


class Waiting:
    """An engine for callers that can wait, which answers from a function of the request at once, and may raise."""

    name = "double"

    def __init__(self, answer: Callable[[SearchRequest], SearchResult] | None = None) -> None:
        self.answer = answer or (lambda asked: good(asked.query))
        self.calls: list[list[str]] = []

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        self.calls.append([asked.query for asked in requests])
        await asyncio.sleep(0)
        return [self.answer(asked) for asked in requests]

    @property
    def asked(self) -> list[str]:
        """Every query that it was asked, in order."""
        return [query for call in self.calls for query in call]


def in_turn(*outcomes: SearchResult | Exception) -> Callable[[SearchRequest], SearchResult]:
    """Answers one after another; the last one again and again."""
    left = list(outcomes)

    def answer(_: SearchRequest) -> SearchResult:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return answer
