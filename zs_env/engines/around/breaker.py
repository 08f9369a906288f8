"""A circuit breaker: an engine that is down isn't asked for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from zs_env.curriculum import check_whole
from zs_env.engines.around.base import Steps, Wrapper, failed, kind_of
from zs_env.engines.around.timing import Clock, check_seconds
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["BreakerEngine", "speaks_of_the_engine"]

State = Literal["closed", "open", "half-open"]


def speaks_of_the_engine(result: SearchResult) -> bool:
    """Whether a failed search says that its engine is down, and not that this request or the budget is at fault."""
    if (result.metadata or {}).get("retry") is False:
        return False
    return kind_of(result) not in ("budget", "missing", "unwritten")


class BreakerEngine(Wrapper):
    """Stops asking an engine that fails again and again; its searches then fail at once.

    - *closed*: every search goes through. After `failures` failed ones without a good one between them, it opens.
    - *open*: every search fails at once, for `rest_s`.
    - *half-open*, after that: one search goes through, alone. If it is good, the breaker closes (and the others of its
      batch follow); if it fails, the breaker opens again.

    What was asked before the breaker opened, and comes back later, no longer counts.

    Args:
        engine: What is asked; of several replicas, each has a breaker of its own.
        failures: Failed searches in a row that open it.
        rest_s: How long it stays open.
        counts: Whether a failed result counts; it should if it says that the engine is down.
        clock: What tells the time.
    """

    def __init__(
        self,
        engine: SearchEngine,
        *,
        failures: int = 5,
        rest_s: float = 30.0,
        counts: Callable[[SearchResult], bool] = speaks_of_the_engine,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(engine)
        check_whole("failures", failures, least=1)
        self._failures = failures
        self._rest_s = check_seconds("rest_s", rest_s)
        self._counts = counts
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._opened: float | None = None
        self._probing = False
        self._epoch = 0

    @property
    def state(self) -> State:
        """What it does with the next search."""
        with self._lock:
            return self._state()

    @property
    def would_ask(self) -> bool:
        """Whether the next search would go through to the engine."""
        with self._lock:
            state = self._state()
            return state == "closed" or (state == "half-open" and not self._probing)

    def _state(self) -> State:
        if self._opened is None:
            return "closed"
        return "half-open" if self._clock() - self._opened >= self._rest_s else "open"

    def _steps(self, requests: list[SearchRequest]) -> Steps:
        if not requests:
            return []
        with self._lock:
            state = self._state()
            probes = state == "half-open" and not self._probing
            self._probing = self._probing or probes
            epoch = self._epoch
        if state != "closed" and not probes:
            return [self._rejection()] * len(requests)
        if not probes:
            results = yield requests
            self._count(results, epoch)
            return results
        try:
            first = yield requests[:1]
        except BaseException:  # given up: it is as if nobody had asked
            with self._lock:
                self._probing = False
            raise
        good = first[0].error is None or not self._counts(first[0])
        with self._lock:
            self._probing = False
            self._epoch += 1
            self._in_a_row = 0
            self._opened = None if good else self._clock()
            epoch = self._epoch
        if not good:
            return first + [self._rejection()] * (len(requests) - 1)
        if len(requests) == 1:
            return first
        rest = yield requests[1:]
        self._count(rest, epoch)
        return first + rest

    def _count(self, results: list[SearchResult], epoch: int) -> None:
        with self._lock:
            if epoch != self._epoch:
                return
            for result in results:
                if result.error is None:
                    self._in_a_row = 0
                elif self._counts(result):
                    self._in_a_row += 1
                if self._in_a_row >= self._failures:
                    self._opened = self._clock()
                    self._epoch += 1
                    self._in_a_row = 0
                    return

    def _rejection(self) -> SearchResult:
        why = (
            f"The engine {self.name!r} failed {self._failures} times in a row and isn't asked for {self._rest_s:g} s "
            "(circuit breaker)."
        )
        return failed(self.name, why, "open")
