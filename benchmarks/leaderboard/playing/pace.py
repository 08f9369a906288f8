"""Letting the wishes of many games pile up, so that they are granted together.

A game that wishes for something waits. Once every game waits, what can be granted at once (searches of an engine that
never waits) is, and then one batch of texts is written; so equal runs make equal batches, in which as many games share
as there are. A game that waits for somebody else, such as a slow search engine, holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

__all__ = ["Pace"]

T = TypeVar("T")

Grant = Callable[[Hashable, list[Any]], Awaitable[list[Any]]]
"""Grants all wishes of one kind: a result or an exception for each, in order."""


class Pace:
    """Who is playing, and who wishes for what.

    Args:
        grant: Who grants the wishes of a kind. Of several kinds, that of the longest wait comes first.
    """

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self._running = 0
        self._wishes: list[tuple[Hashable, Any, asyncio.Future[Any]]] = []
        self._granting: asyncio.Task[None] | None = None

    def enter(self) -> None:
        """A game begins."""
        self._running += 1

    def leave(self) -> None:
        """A game has ended."""
        self._running -= 1
        self._check()

    async def elsewhere(self, awaited: Awaitable[T]) -> T:
        """Wait for something that is nothing to other games."""
        self.leave()
        try:
            return await awaited
        finally:
            self._running += 1

    async def wish(self, kind: Hashable, item: Any) -> Any:
        """Wait for something that is granted together with others of its kind.

        Raises:
            Exception: What was granted is an exception.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._wishes.append((kind, item, future))
        self.leave()
        try:
            return await future
        except asyncio.CancelledError:
            self._running += 1  # `leave` will be called once more
            raise

    def _check(self) -> None:
        if self._running <= 0 and self._wishes and self._granting is None:
            self._granting = asyncio.get_running_loop().create_task(self._grant_next())

    async def _grant_next(self) -> None:
        kind = self._wishes[0][0]
        chosen = [wish for wish in self._wishes if wish[0] == kind]
        self._wishes = [wish for wish in self._wishes if wish[0] != kind]
        try:
            granted = await self._grant(kind, [item for _, item, _ in chosen])
        except Exception as error:
            granted = [error] * len(chosen)
        finally:
            self._granting = None
        for (_, _, future), given in zip(chosen, granted, strict=True):
            if future.done():  # cancelled meanwhile
                continue
            self._running += 1
            if isinstance(given, Exception):
                future.set_exception(given)
            else:
                future.set_result(given)
        self._check()
