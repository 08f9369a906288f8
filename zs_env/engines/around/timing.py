"""Time that tests can put in the place of the real one, and work that is given up after a while."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from zs_env.errors import ConfigError

__all__ = ["Clock", "Sleep", "check_seconds", "within"]

T = TypeVar("T")

Clock = Callable[[], float]
"""Seconds from some moment on; never going back."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits so many seconds."""


def check_seconds(name: str, value: float, *, zero: bool = False) -> float:
    """A number of seconds, finite and above 0 (or at least 0).

    Raises:
        ConfigError: It isn't one.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < 0 or (value == 0 and not zero):
        raise ConfigError(f"{name} is a number of seconds, {'at least' if zero else 'above'} 0; got {value!r}.")
    return float(value)


async def within(seconds: float, work: Coroutine[Any, Any, T], sleep: Sleep) -> T:
    """Do some work, or give it up after `seconds`.

    What is given up is cancelled and not waited for: work that doesn't heed its cancellation holds nobody up.

    Raises:
        TimeoutError: It wasn't done in time.
    """
    task = asyncio.ensure_future(work)
    timer: asyncio.Future[None] = asyncio.ensure_future(sleep(seconds))
    try:
        both: set[asyncio.Future[Any]] = {task, timer}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        if not task.done():
            task.cancel()
            task.add_done_callback(_look_away)
    if not task.done():
        raise TimeoutError
    return task.result()


def _look_away(task: asyncio.Future[Any]) -> None:
    """Take the outcome of what was given up, so that asyncio doesn't complain of an error that nobody saw."""
    if not task.cancelled():
        task.exception()
