"""At most so many searches under way at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from zs_env.curriculum import check_whole
from zs_env.engines.around.base import Wrapper, ask
from zs_env.engines.around.slots import Slots
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["LimitedEngine"]


class LimitedEngine(Wrapper):
    """Lets at most `max_in_flight` searches be under way, over all event loops and threads that share it.

    Who asks first is served first. A batch that doesn't fit goes in parts, as places become free, so the engine still
    sees batches where it can; what is left of it queues again, so that it doesn't keep others out.

    Args:
        engine: What is asked.
        max_in_flight: The most searches (requests, not calls) at the same time.
    """

    def __init__(self, engine: SearchEngine, max_in_flight: int) -> None:
        super().__init__(engine, waits=True)
        check_whole("max_in_flight", max_in_flight, least=1)
        self._slots = Slots(max_in_flight)

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request, when its turn comes."""
        asked = list(requests)
        parts: list[asyncio.Task[list[SearchResult]]] = []
        begun = 0
        try:
            while begun < len(asked):
                taken = await self._slots.acquire(len(asked) - begun)
                part = asyncio.ensure_future(ask(self.engine, asked[begun : begun + taken]))
                # A callback and no `finally` inside: a task that is cancelled before it begins runs nothing of its own.
                part.add_done_callback(self._giver(taken))
                parts.append(part)
                begun += taken
            return [result for results in await asyncio.gather(*parts) for result in results]
        except BaseException:
            for part in parts:
                part.cancel()
            raise

    def _giver(self, taken: int) -> Any:
        def give_back(_: object) -> None:
            self._slots.release(taken)

        return give_back
