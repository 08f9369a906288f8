"""Searches that take too long are given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from zs_env.engines.around.base import Wrapper, ask, failed, together
from zs_env.engines.around.timing import Clock, Sleep, check_seconds, within
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["TimeoutEngine"]


class TimeoutEngine(Wrapper):
    """Gives a search up after `timeout_s`: its result is then an error, and the engine's work is cancelled.

    It isn't waited for: an engine that doesn't heed its cancellation holds nobody up. One that blocks its event loop
    can't be given up by anybody; such an engine belongs in a thread. Around an engine that never waits (`search_now`)
    there is nothing to give up, and `search_now` stays.

    Args:
        engine: What is asked.
        timeout_s: The most seconds of a search.
        per: "request": each request is asked by itself, so that a slow one doesn't take its mates along. "batch": the
            requests of a call are asked at once and given up at once, for engines that answer batches faster.
        clock: What tells the time.
        sleep: What waits.
    """

    def __init__(
        self,
        engine: SearchEngine,
        timeout_s: float,
        *,
        per: str = "request",
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(engine)
        if per not in ("request", "batch"):
            raise ConfigError(f"per must be 'request' (each by itself) or 'batch' (all of a call); got {per!r}.")
        self._timeout_s = check_seconds("timeout_s", timeout_s)
        self._per = per
        self._clock, self._sleep = clock, sleep

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request, in time."""
        asked = list(requests)
        if not asked:
            return []
        if self._per == "batch":
            return await self._ask(asked)
        return [result for [result] in await together(*(self._ask([request]) for request in asked))]

    async def _ask(self, requests: list[SearchRequest]) -> list[SearchResult]:
        began = self._clock()
        try:
            return await within(self._timeout_s, ask(self.engine, requests), self._sleep)
        except TimeoutError:
            late = f"The search was given up: it took more than {self._timeout_s:g} s (timeout_s)."
            return [failed(self.name, late, "timeout", latency_s=self._clock() - began)] * len(requests)
