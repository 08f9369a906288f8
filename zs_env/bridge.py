"""How code that doesn't wait calls engines that do.

Engines that never wait (`search_now`) are called directly: a hop to an event loop and back costs more than their
answer. All others run on one background event loop that every environment of the process shares, so that thousands of
environments share one connection pool.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from zs_env.errors import EngineContractError
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["run_blocking", "search_async", "search_blocking", "start"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_loop_pid = 0


def _background_loop() -> asyncio.AbstractEventLoop:
    global _loop, _loop_pid
    with _lock:
        if _loop is None or _loop_pid != os.getpid():  # a forked child has the object but not the thread
            _loop = asyncio.new_event_loop()
            _loop_pid = os.getpid()
            threading.Thread(target=_loop.run_forever, name="zs_env-engines", daemon=True).start()
        return _loop


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the shared background loop and wait for it, also from inside another running loop."""
    return start(coroutine).result()


def start(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin to run a coroutine on the shared background loop; a future that is cancelled cancels it."""
    return asyncio.run_coroutine_threadsafe(coroutine, _background_loop())


def search_blocking(engine: SearchEngine, requests: Sequence[SearchRequest]) -> list[SearchResult]:
    """Search and wait.

    Raises:
        EngineContractError: The engine returned another number of results than it was asked for.
    """
    if not requests:
        return []
    search_now = getattr(engine, "search_now", None)
    results = search_now(requests) if search_now is not None else run_blocking(_search(engine, requests))
    return _check_count(engine, requests, results)


async def search_async(engine: SearchEngine, requests: Sequence[SearchRequest]) -> list[SearchResult]:
    """Search without holding up the caller's event loop.

    Raises:
        EngineContractError: The engine returned another number of results than it was asked for.
    """
    if not requests:
        return []
    return _check_count(engine, requests, await _search(engine, requests))


async def _search(engine: SearchEngine, requests: Sequence[SearchRequest]) -> list[SearchResult]:
    found = engine.search(requests)
    if not inspect.isawaitable(found):
        raise EngineContractError(
            f"search() of an engine is asynchronous (`async def search`); that of {engine!r} returned "
            f"{type(found).__name__} at once. An engine that never waits has `search_now(requests)` beside it."
        )
    return await found


def _check_count(
    engine: SearchEngine, requests: Sequence[SearchRequest], results: list[SearchResult]
) -> list[SearchResult]:
    if not isinstance(results, list) or len(results) != len(requests):
        got = len(results) if isinstance(results, list) else type(results).__name__
        raise EngineContractError(
            f"An engine must return a list with one result a request; {engine!r} was given {len(requests)} and "
            f"returned {got}. `zs_env.checker.check_engine` tests an engine against the protocol."
        )
    return results
