"""Several engines that answer alike, as one: balanced, and with the others there when one is down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from zs_env.engines.around.base import Wrapper, ask, together, with_metadata
from zs_env.engines.around.breaker import BreakerEngine
from zs_env.engines.around.retrying import is_worth_retrying
from zs_env.engines.around.timing import Clock
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["ReplicatedEngine"]


class ReplicatedEngine(Wrapper):
    """Spreads searches over replicas, and asks another one where a search fails.

    Each replica has a circuit breaker (one of its own is kept). A replica whose breaker is open is asked only where
    there is no other; once its rest is over, one search tries whether it is back. A result's metadata say which
    `replica` answered, by number; its cost is that of all tries.

    Args:
        engines: The replicas, at least one; equal requests should get equal answers from each.
        pick: "least_in_flight" (the one with the fewest searches under way) or "round_robin" (one after another).
        failures: Of the breakers: failed searches in a row that open them.
        rest_s: Of the breakers: how long they stay open.
        fails_over: Whether a failed result is to be tried on another replica.
        clock: What tells the time.
    """

    def __init__(
        self,
        engines: Sequence[SearchEngine],
        *,
        pick: str = "least_in_flight",
        failures: int = 5,
        rest_s: float = 30.0,
        fails_over: Callable[[SearchResult], bool] = is_worth_retrying,
        clock: Clock = time.monotonic,
    ) -> None:
        if isinstance(engines, str) or not isinstance(engines, Sequence) or not engines:
            raise ConfigError(f"engines is a list of at least one search engine; got {engines!r}.")
        if pick not in ("least_in_flight", "round_robin"):
            raise ConfigError(f"pick must be 'least_in_flight' or 'round_robin'; got {pick!r}.")
        super().__init__(engines[0], waits=True)
        self.replicas = tuple(
            engine
            if isinstance(engine, BreakerEngine)
            else BreakerEngine(engine, failures=failures, rest_s=rest_s, clock=clock)
            for engine in engines
        )
        self._by_load = pick == "least_in_flight"
        self._fails_over = fails_over
        self._lock = threading.Lock()
        self._in_flight = [0] * len(self.replicas)
        self._turn = 0

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request, by any replica."""
        return await self._route(list(requests), frozenset())

    async def _route(self, requests: list[SearchRequest], tried: frozenset[int]) -> list[SearchResult]:
        """Give each request to a replica that hasn't tried it."""
        groups: dict[int, list[int]] = {}
        for index, replica in enumerate(self._pick(len(requests), tried)):
            groups.setdefault(replica, []).append(index)
        answers = await together(
            *(self._ask(replica, [requests[i] for i in rows], tried | {replica}) for replica, rows in groups.items())
        )
        found = {
            i: result
            for rows, group in zip(groups.values(), answers, strict=True)
            for i, result in zip(rows, group, strict=True)
        }
        return [found[i] for i in range(len(requests))]

    async def _ask(self, replica: int, requests: list[SearchRequest], tried: frozenset[int]) -> list[SearchResult]:
        """Ask one replica, and others for what it fails."""
        with self._lock:
            self._in_flight[replica] += len(requests)
        try:
            results = await ask(self.replicas[replica], requests)
        finally:
            with self._lock:
                self._in_flight[replica] -= len(requests)
        results = [with_metadata(result, replica=replica) for result in results]
        rows = [i for i, result in enumerate(results) if result.error is not None and self._fails_over(result)]
        if not rows:
            return results
        if len(tried) == len(self.replicas):
            for i in rows:
                shown = f"All {len(tried)} replicas failed; the last one: {results[i].error}"
                results[i] = replace(results[i], error=shown)
            return results
        for i, again in zip(rows, await self._route([requests[i] for i in rows], tried), strict=True):
            results[i] = replace(
                again, cost=again.cost + results[i].cost, latency_s=again.latency_s + results[i].latency_s
            )
        return results

    def _pick(self, count: int, tried: frozenset[int]) -> list[int]:
        """A replica for each of so many requests."""
        left = [replica for replica in range(len(self.replicas)) if replica not in tried]
        asleep = {replica: not self.replicas[replica].would_ask for replica in left}
        picked = []
        with self._lock:
            load = list(self._in_flight)
            for _ in range(count):
                turn = self._turn % len(self.replicas)
                # In the order of their turns, so that equals take turns.
                order = sorted(left, key=lambda replica: (replica - turn) % len(self.replicas))
                best = min(order, key=lambda replica: (asleep[replica], load[replica] if self._by_load else 0))
                load[best] += 1
                self._turn = best + 1
                picked.append(best)
        return picked
