import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zs_env.engines.around.doubles import Held, Waiting, good, request, settle, texts
from zs_env.engines.around import LimitedEngine
from zs_env.errors import ConfigError
from zs_env.types import SearchRequest, SearchResult


def test_no_more_than_the_limit_is_under_way_and_a_large_batch_goes_in_parts() -> None:
    engine = Held()

    async def main() -> None:
        task = asyncio.ensure_future(LimitedEngine(engine, 3).search([request(str(n)) for n in range(8)]))
        await settle()
        while engine.let_go():
            await settle()
        assert texts(await task) == [f"About {n}." for n in range(8)]

    asyncio.run(main())
    assert engine.most == 3
    assert engine.calls == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]


def test_who_comes_first_is_served_first() -> None:
    engine = Held()

    async def main() -> None:
        limited = LimitedEngine(engine, 2)
        tasks = []
        for name in "abcd":
            batch = [request(f"{name}{n}") for n in range(3 if name == "b" else 1)]
            tasks.append(asyncio.ensure_future(limited.search(batch)))
            await settle()
        while engine.let_go():
            await settle()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    # What didn't fit of a batch queues again, so a large one doesn't keep the others out.
    assert engine.calls == [["a0"], ["b0"], ["b1"], ["c0"], ["d0"], ["b2"]]
    assert engine.most == 2


def test_who_gives_up_waiting_or_searching_gives_its_place_to_others() -> None:
    engine = Held()

    async def main() -> None:
        limited = LimitedEngine(engine, 1)
        running = asyncio.ensure_future(limited.search([request("running")]))
        await settle()
        waiting = asyncio.ensure_future(limited.search([request("waiting")]))
        third = asyncio.ensure_future(limited.search([request("third")]))
        await settle()
        waiting.cancel()
        await settle()
        running.cancel()
        await settle()
        assert engine.calls == [["running"], ["third"]]
        engine.let_go()
        engine.let_go()
        assert texts(await third) == ["About third."]

    asyncio.run(main())


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(1, 4),
    moves=st.lists(st.tuples(st.sampled_from(["search", "cancel", "let go"]), st.integers(1, 5)), max_size=25),
)
def test_no_place_is_lost_whatever_is_cancelled_when(limit: int, moves: list[tuple[str, int]]) -> None:
    engine = Held()

    async def main() -> None:
        limited, tasks = LimitedEngine(engine, limit), []
        for move, number in moves:
            if move == "search":
                tasks.append(asyncio.ensure_future(limited.search([request(str(n)) for n in range(number)])))
            elif move == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            else:
                engine.let_go()
            for _ in range(number - 1):  # at any moment of what is under way
                await asyncio.sleep(0)
            assert engine.under_way <= limit
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await settle()
        assert limited._slots._free == limit
        assert not limited._slots._waiting

    asyncio.run(main())


def test_loops_of_several_threads_share_the_places() -> None:
    everybody, lock = threading.Barrier(6), threading.Lock()
    under_way = most = 0

    def answer(asked: SearchRequest) -> SearchResult:
        return good(asked.query)

    class Counting(Waiting):
        async def search(self, requests: list[SearchRequest]) -> list[SearchResult]:  # type: ignore[override]
            nonlocal under_way, most
            with lock:
                under_way += len(requests)
                most = max(most, under_way)
            try:
                return await super().search(requests)
            finally:
                with lock:
                    under_way -= len(requests)

    limited, found = LimitedEngine(Counting(answer), 2), []

    def play(number: int) -> None:
        async def main() -> None:
            everybody.wait()
            for n in range(20):
                found.extend(texts(await limited.search([request(f"{number} {n}"), request(f"{number} {n}'")])))

        asyncio.run(main())

    threads = [threading.Thread(target=play, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 * 40
    assert most <= 2
    assert limited._slots._free == 2


def test_a_loop_that_was_closed_while_it_waited_holds_nobody_up() -> None:
    engine = Held()
    limited = LimitedEngine(engine, 1)
    loop, gone = asyncio.new_event_loop(), asyncio.new_event_loop()
    running = loop.create_task(limited.search([request("running")]))
    loop.run_until_complete(settle())
    waiting = gone.create_task(limited.search([request("gone")]))
    gone.run_until_complete(settle())
    gone.close()
    third = loop.create_task(limited.search([request("third")]))
    loop.run_until_complete(settle())
    engine.let_go()
    loop.run_until_complete(settle())
    engine.let_go()
    assert texts(loop.run_until_complete(third)) == ["About third."]
    assert running.done()
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


def test_a_wrong_limit_is_told() -> None:
    with pytest.raises(ConfigError, match="max_in_flight"):
        LimitedEngine(Held(), 0)
