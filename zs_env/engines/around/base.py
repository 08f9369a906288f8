"""What all wrappers share: an engine inside, one boundary for what it raises, and one code for both ways to search.

A wrapper that needn't wait says what it does as a generator: it yields the requests to ask, is sent their results, and
returns its own. `search` and `search_now` both drive that generator, so there is one code for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from zs_env.engines.around.keys import uses_draw
from zs_env.errors import BudgetError, ConfigError
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = [
    "FailureKind",
    "Steps",
    "Wrapper",
    "ask",
    "ask_now",
    "failed",
    "kind_of",
    "name_of",
    "together",
    "with_metadata",
]

T = TypeVar("T")

Steps = Generator[list[SearchRequest], list[SearchResult], list[SearchResult]]
"""Requests to ask, out; their results, in; the wrapper's own results, at the end."""

FailureKind = Literal["raised", "contract", "timeout", "open", "budget", "missing", "unwritten"]
"""Why a wrapper says that a search failed: `metadata["failure"]` of its result.

- `raised`: the engine raised instead of reporting.
- `contract`: it gave something else than one result a request.
- `timeout`: it took too long.
- `open`: a circuit breaker is open.
- `budget`: the budget is used up.
- `missing`: a replay's record doesn't hold the search.
- `unwritten`: the search can't be recorded.
"""

_MAX_ERROR_CHARS = 2_000


class Wrapper:
    """An engine around an engine; the base of those in this package.

    It has the engine's name and fingerprint. It has `search_now` exactly if the engine has and it doesn't wait itself.
    Copies are the wrapper itself: locks, files and counters are to be shared.

    Args:
        engine: What it is put around.
        waits: Whether the wrapper itself may have to wait.

    Attributes:
        engine: What it is put around.
        search_now: The same as `search`, at once; not there if either can't.
    """

    engine: SearchEngine
    search_now: Callable[[Sequence[SearchRequest]], list[SearchResult]]

    def __init__(self, engine: SearchEngine, *, waits: bool = False) -> None:
        if not callable(getattr(engine, "search", None)):
            raise ConfigError(f"What is wrapped must have an async search(requests) method; got {engine!r}.")
        self.engine = engine
        if not waits and callable(getattr(engine, "search_now", None)):
            self.search_now = self._search_now

    @property
    def name(self) -> str:
        """The engine's name in records."""
        return name_of(self.engine)

    @property
    def fingerprint(self) -> str | None:
        """What tells the engine from others of its name, where it says so."""
        found = getattr(self.engine, "fingerprint", None)
        return found if isinstance(found, str) else None

    @property
    def uses_draw(self) -> bool:
        """Whether answers depend on the draw."""
        return uses_draw(self.engine)

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request; failures are inside the results, also where the engine raises."""
        steps = self._steps(list(requests))
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(await ask(self.engine, wanted))
        except StopIteration as stop:
            return _results_of(stop)
        finally:
            steps.close()

    def _search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        steps = self._steps(list(requests))
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(ask_now(self.engine, wanted))
        except StopIteration as stop:
            return _results_of(stop)
        finally:
            steps.close()

    def _steps(self, requests: list[SearchRequest]) -> Steps:
        return (yield requests)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self


def _results_of(stop: StopIteration) -> list[SearchResult]:
    results: list[SearchResult] = stop.value
    return results


async def ask(engine: SearchEngine, requests: list[SearchRequest]) -> list[SearchResult]:
    """Search; whatever goes wrong inside the engine is the failure of these requests.

    Raises:
        BudgetError: The engine asks for the run to stop.
    """
    if not requests:
        return []
    try:
        return _checked(engine, requests, await engine.search(requests))
    except BudgetError:
        raise
    except Exception as error:
        return [_raised(engine, error)] * len(requests)


def ask_now(engine: SearchEngine, requests: list[SearchRequest]) -> list[SearchResult]:
    """The same as `ask`, at once, of an engine that can."""
    if not requests:
        return []
    try:
        return _checked(engine, requests, engine.search_now(requests))  # type: ignore[attr-defined]
    except BudgetError:
        raise
    except Exception as error:
        return [_raised(engine, error)] * len(requests)


def _checked(engine: SearchEngine, requests: Sequence[SearchRequest], results: Any) -> list[SearchResult]:
    if not isinstance(results, list) or len(results) != len(requests):
        got = f"{len(results)} results" if isinstance(results, list) else f"a {type(results).__name__}"
        wrong = (
            f"The engine was given {len(requests)} requests and returned {got}, not a list with one result for each."
        )
        return [failed(name_of(engine), wrong, "contract")] * len(requests)
    if all(isinstance(result, SearchResult) for result in results):
        return results
    wrong = "The engine returned something else than a SearchResult."
    return [
        result if isinstance(result, SearchResult) else failed(name_of(engine), wrong, "contract") for result in results
    ]


def _raised(engine: SearchEngine, error: Exception) -> SearchResult:
    return failed(name_of(engine), f"{type(error).__name__}: {error}", "raised")


def failed(engine: str, error: str, kind: FailureKind, *, latency_s: float = 0.0) -> SearchResult:
    """The result of a search that a wrapper says has failed."""
    shown = error[:_MAX_ERROR_CHARS].encode("utf-8", "replace").decode()
    return SearchResult(
        documents=(), engine=engine, error=shown, latency_s=max(latency_s, 0.0), metadata={"failure": kind}
    )


def kind_of(result: SearchResult) -> str | None:
    """Why a wrapper said that a search failed; None if none did."""
    kind = (result.metadata or {}).get("failure") if result.error is not None else None
    return kind if isinstance(kind, str) else None


def with_metadata(result: SearchResult, **more: Any) -> SearchResult:
    """The same result with more metadata."""
    return replace(result, metadata={**(result.metadata or {}), **more})


def name_of(engine: SearchEngine) -> str:
    """An engine's name, also of one that has none."""
    name = getattr(engine, "name", None)
    return name if isinstance(name, str) and name else type(engine).__name__


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do all at the same time, and give their results in order; if one raises, the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
