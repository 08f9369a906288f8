import asyncio

import pytest

from tests.zs_env.engines.around.doubles import FakeTime, Held, Waiting, bad, good, in_turn, request, settle, texts
from zs_env.engines.around import BreakerEngine, ReplicatedEngine
from zs_env.errors import ConfigError


def requests(count: int) -> list:  # type: ignore[type-arg]
    return [request(str(number), seed=number) for number in range(count)]


def test_a_batch_is_spread_over_the_replicas_and_comes_back_in_order() -> None:
    replicas = [Waiting(), Waiting(), Waiting()]
    results = asyncio.run(ReplicatedEngine(replicas).search(requests(7)))
    assert texts(results) == [f"About {number}." for number in range(7)]
    assert [replica.calls for replica in replicas] == [[["0", "3", "6"]], [["1", "4"]], [["2", "5"]]]
    assert [result.metadata for result in results[:4]] == [{"replica": number} for number in (0, 1, 2, 0)]


def test_a_failed_search_goes_to_another_replica_and_pays_for_both() -> None:
    down, up = Waiting(in_turn(bad(cost=0.5))), Waiting(lambda asked: good(asked.query, cost=1.0))
    results = asyncio.run(ReplicatedEngine([down, up]).search(requests(4)))
    assert texts(results) == [f"About {number}." for number in range(4)]
    assert [result.cost for result in results] == [1.5, 1.0, 1.5, 1.0]
    assert down.calls == [["0", "2"]]


def test_when_all_fail_the_error_says_so_and_ends() -> None:
    replicas = [Waiting(in_turn(bad(f"down {number}"))) for number in range(3)]
    [result] = asyncio.run(ReplicatedEngine(replicas).search(requests(1)))
    assert result.error == "All 3 replicas failed; the last one: down 2"
    assert [len(replica.calls) for replica in replicas] == [1, 1, 1]


def test_what_no_other_could_answer_either_is_not_sent_on() -> None:
    replicas = [Waiting(in_turn(bad("refused", metadata={"retry": False}))) for _ in range(2)]
    [result] = asyncio.run(ReplicatedEngine(replicas).search(requests(1)))
    assert result.error == "refused"
    assert [len(replica.calls) for replica in replicas] == [1, 0]


def test_a_dead_replica_is_left_alone_and_comes_back() -> None:
    time = FakeTime()
    first = Waiting(in_turn(bad(), bad(), good("back")))
    second = Waiting()
    both = ReplicatedEngine([first, second], failures=2, rest_s=30.0, clock=time.clock)
    assert texts(time.run(both.search(requests(4)))) == [f"About {number}." for number in range(4)]
    assert both.replicas[0].state == "open"
    time.run(both.search(requests(6)))
    assert len(first.asked) == 2
    time.now = 30.0
    assert "About back." in texts(time.run(both.search(requests(2))))
    assert both.replicas[0].state == "closed"


def test_the_one_with_the_fewest_searches_under_way_is_picked() -> None:
    busy, free = Held(), Held()

    async def main() -> None:
        both = ReplicatedEngine([busy, free])
        first = [asyncio.ensure_future(both.search([request(str(number))])) for number in range(2)]
        await settle()
        free.let_go()
        await settle()
        for number in range(2, 5):
            first.append(asyncio.ensure_future(both.search([request(str(number))])))
            await settle()
            free.let_go()
            await settle()
        assert busy.calls == [["0"]]
        assert free.calls == [["1"], ["2"], ["3"], ["4"]]
        busy.let_go()
        await asyncio.gather(*first)

    asyncio.run(main())


def test_round_robin_takes_turns_whatever_is_under_way() -> None:
    replicas = [Waiting(), Waiting()]
    engine = ReplicatedEngine(replicas, pick="round_robin")
    for number in range(4):
        asyncio.run(engine.search([request(str(number))]))
    assert [replica.asked for replica in replicas] == [["0", "2"], ["1", "3"]]


def test_cancelled_searches_are_no_longer_under_way() -> None:
    engine = Held()

    async def main() -> None:
        both = ReplicatedEngine([engine, engine])
        for cancel_after in (0, 60):
            task = asyncio.ensure_future(both.search(requests(4)))
            for _ in range(cancel_after):
                await asyncio.sleep(0)
            task.cancel()
            await settle()
            assert both._in_flight == [0, 0]

    asyncio.run(main())


def test_a_breaker_that_is_there_is_kept_and_wrong_settings_are_told() -> None:
    breaker = BreakerEngine(Waiting(), failures=1)
    assert ReplicatedEngine([breaker, Waiting()]).replicas[0] is breaker
    with pytest.raises(ConfigError, match="pick must be"):
        ReplicatedEngine([Waiting()], pick="random")
