"""A fair number of places, shared by event loops of several threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

__all__ = ["Slots"]


class _Waiter:
    __slots__ = ("granted", "loop", "wake", "wanted")

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.granted = 0
        self.loop = asyncio.get_running_loop()
        self.wake: asyncio.Future[None] = self.loop.create_future()


class Slots:
    """`count` places; who comes first is served first, whatever loop and thread it comes from.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: deque[_Waiter] = deque()

    async def acquire(self, wanted: int) -> int:
        """Wait for at least one place, and take as many as are free, at most `wanted`.

        Returns:
            How many were taken.
        """
        with self._lock:
            if self._free and not self._waiting:
                taken = min(self._free, wanted)
                self._free -= taken
                return taken
            waiter = _Waiter(wanted)
            self._waiting.append(waiter)
        try:
            await waiter.wake
        except BaseException:
            with self._lock:
                taken, waiter.granted = waiter.granted, 0
                if not taken and waiter in self._waiting:
                    self._waiting.remove(waiter)
            self.release(taken)
            raise
        return waiter.granted

    def release(self, count: int) -> None:
        """Give places back, from any thread."""
        with self._lock:
            self._free += count
            while self._free and self._waiting:
                waiter = self._waiting.popleft()
                waiter.granted = min(self._free, waiter.wanted)
                try:
                    waiter.loop.call_soon_threadsafe(_wake, waiter.wake)
                except RuntimeError:  # its loop was closed: nobody waits any more
                    waiter.granted = 0
                    continue
                self._free -= waiter.granted


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
