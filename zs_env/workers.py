"""Several coroutines that take their work from one iterator, and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["run_workers"]


async def run_workers(worker: Callable[[], Awaitable[None]], count: int) -> None:
    """Run so many of a worker at the same time, until all are done or one fails; none is left running behind it.

    Args:
        worker: Takes its work from what all share, until there is none left.
        count: How many.

    Raises:
        BaseException: What the first worker that failed raised.
    """
    tasks = [asyncio.ensure_future(worker()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
