"""Another try for searches that failed, after a pause, and only so often."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from zs_env.curriculum import check_whole
from zs_env.engines.around.base import Wrapper, ask, failed, kind_of, together, with_metadata
from zs_env.engines.around.timing import Clock, Sleep, check_seconds, within
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["RetryingEngine", "is_worth_retrying"]

_HOPELESS = ("contract", "budget", "missing", "unwritten")


def is_worth_retrying(result: SearchResult) -> bool:
    """Whether another try may help: the search failed, and neither its engine nor a wrapper says that it won't.

    An engine that knows better says so by `metadata={"retry": False}`, as for a wrong key or a request that is refused.
    """
    if result.error is None or (result.metadata or {}).get("retry") is False:
        return False
    return kind_of(result) not in _HOPELESS


class RetryingEngine(Wrapper):
    """Asks again for the searches that failed, and for no others.

    A batch is asked at once. Each request that failed is then tried again by itself, so that one that breaks a whole
    batch takes its mates along once at most. Before the n-th further try it waits a random time between 0 and
    `first_wait_s` · 2^(n-1), at most `longest_wait_s` ("full jitter"), so that many callers don't come back at the same
    moment. An engine that says when to come back, by `metadata={"retry_after_s": 3.0}`, isn't asked earlier.

    A result has `search_tries` in its metadata, how often it was asked for; its cost is that of all tries.

    Args:
        engine: What is asked.
        tries: The most tries of a request, at least 1.
        first_wait_s: The longest first pause.
        longest_wait_s: The longest of all pauses.
        deadline_s: The most seconds of a call, pauses included: no try begins that couldn't end, and what is still
            under way is given up. None for no such bound.
        worth_retrying: Whether a failed result deserves another try.
        rng: Where jitter comes from. It is no part of an episode's randomness.
        clock: What tells the time.
        sleep: What waits.
    """

    def __init__(
        self,
        engine: SearchEngine,
        *,
        tries: int = 3,
        first_wait_s: float = 0.5,
        longest_wait_s: float = 30.0,
        deadline_s: float | None = None,
        worth_retrying: Callable[[SearchResult], bool] = is_worth_retrying,
        rng: random.Random | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(engine, waits=True)
        check_whole("tries", tries, least=1)
        self._tries = tries
        self._first_wait_s = check_seconds("first_wait_s", first_wait_s, zero=True)
        self._longest_wait_s = check_seconds("longest_wait_s", longest_wait_s, zero=True)
        self._deadline_s = None if deadline_s is None else check_seconds("deadline_s", deadline_s)
        self._worth_retrying = worth_retrying
        self._rng = rng or random.Random()
        self._clock, self._sleep = clock, sleep

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request; those that fail are tried again."""
        asked = list(requests)
        began = self._clock()
        results = await self._ask(asked, began)
        return await together(
            *(self._go_on(request, result, began) for request, result in zip(asked, results, strict=True))
        )

    async def _go_on(self, request: SearchRequest, result: SearchResult, began: float) -> SearchResult:
        """A first result, or that of the last try after it."""
        cost, tries = result.cost, 1
        while tries < self._tries and self._worth_retrying(result):
            wait = self._pause(result, tries)
            left = self._left(began)
            if left is not None and wait >= left:
                break
            await self._sleep(wait)
            [result] = await self._ask([request], began)
            tries += 1
            cost += result.cost
        if tries > 1:
            result = replace(result, cost=cost, latency_s=max(self._clock() - began, 0.0))
        return with_metadata(result, search_tries=tries)

    def _pause(self, result: SearchResult, tries: int) -> float:
        wait = self._rng.uniform(0.0, min(self._longest_wait_s, self._first_wait_s * 2.0 ** min(tries - 1, 60)))
        asked = (result.metadata or {}).get("retry_after_s")
        if isinstance(asked, (int, float)) and asked > wait:
            wait = min(float(asked), max(self._longest_wait_s, wait))
        return wait

    def _left(self, began: float) -> float | None:
        return None if self._deadline_s is None else self._deadline_s - (self._clock() - began)

    async def _ask(self, requests: list[SearchRequest], began: float) -> list[SearchResult]:
        left = self._left(began)
        if left is None or not requests:
            return await ask(self.engine, requests)
        try:
            return await within(max(left, 0.0), ask(self.engine, requests), self._sleep)
        except TimeoutError:
            gone = self._clock() - began
            late = (
                f"The search was given up: it took more than {self._deadline_s:g} s (deadline_s), all tries included."
            )
            return [failed(self.name, late, "timeout", latency_s=gone)] * len(requests)
