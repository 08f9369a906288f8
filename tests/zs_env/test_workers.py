from __future__ import annotations

import asyncio

import pytest

from zs_env.workers import run_workers


def test_workers_share_what_there_is_to_do() -> None:
    work, done = iter(range(10)), []

    async def worker() -> None:
        for item in work:
            await asyncio.sleep(0)
            done.append(item)

    asyncio.run(run_workers(worker, 3))
    assert sorted(done) == list(range(10))


def test_one_that_fails_ends_the_others_before_its_error_is_told() -> None:
    ended: list[str] = []
    work = iter(["fail", "wait", "wait"])

    async def worker() -> None:
        if next(work) == "fail":
            await asyncio.sleep(0)
            raise ValueError("broken")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("ended")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run_workers(worker, 3))
    assert ended == ["ended", "ended"]
