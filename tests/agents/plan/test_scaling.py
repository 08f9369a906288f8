from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from agents.plan.cluster import ClusterNumbers, basis_of
from agents.plan.hardware import Hardware
from agents.plan.scaling import (
    Cluster,
    Phases,
    Split,
    fetch_seconds,
    publish_seconds,
    rollout_seconds,
    search_seconds,
    update_phase,
)
from agents.plan.serving import exchange_seconds, longest_of, make_server
from agents.plan.settings import Precision
from agents.plan.shapes import SHAPES
from agents.plan.timing import plan_time
from tests.agents.plan import small as small_things
from tests.agents.plan.small import SHAPE
from zs_env.errors import ConfigError

# Of the model: 144 weights, a head of 40.
IDEAL = replace(small_things.IDEAL, margin=0, actions_share=1)
COMPUTER = replace(small_things.COMPUTER, is_gpu=True)
RUN = replace(small_things.RUN, sampler="vllm", dtype="bfloat16")
PLAIN = ClusterNumbers(
    link_share=1, hop_us=0, overlap=0, allreduce_us=0, call_ms=0, episode_ms=0, spread=0, simulator_prompt_tokens=10
)


def small(**changes: object) -> Cluster:
    cluster = Cluster(policy=SHAPE, simulator=SHAPE, run=RUN, hardware=COMPUTER, assumptions=IDEAL, numbers=PLAIN)
    return replace(cluster, **changes)  # type: ignore[arg-type]


def test_the_longest_of_many_is_a_close_upper_bound() -> None:
    assert longest_of(1, 0.5) == 1
    drawn = np.random.default_rng(0).normal(1, 0.5, size=(4000, 320)).max(axis=1).mean()
    assert drawn < longest_of(320, 0.5) < 1 + 1.2 * (drawn - 1)


def test_what_crosses_between_gpus_by_hand() -> None:
    assert exchange_seconds(1e9, 1, PLAIN) == 0
    # Two GPUs: each takes in half a gigabyte at 450 GB/s.
    assert exchange_seconds(1e9, 2, PLAIN) == pytest.approx(0.5 / 450)
    # Two machines of eight: 15/16 over NVLink at 450, half over the network at 400; NVLink is the slower.
    assert exchange_seconds(1e9, 16, PLAIN) == pytest.approx(15 / 16 / 450)
    slow = replace(PLAIN, network_gb_s=50.0, link_share=0.5, hop_us=10.0)
    assert exchange_seconds(1e9, 16, slow, messages=3) == pytest.approx(0.5 / 50 / 0.5 + 3 * 15 * 10e-6)


def test_rows_that_fit_by_hand() -> None:
    # 2 bytes a weight; two key vectors of two numbers, 8 bytes a token.
    weights = 2 * SHAPE.num_parameters
    hardware = replace(COMPUTER, memory_gb=(weights + 10 * 40 * 8) / 0.9 / 1e9)
    options = {"num_gpus": 1, "longest": 400.0, "mean": 40.0}
    server = make_server(SHAPE, Precision.of("bfloat16"), hardware, IDEAL, PLAIN, **options)  # type: ignore[arg-type]
    assert server.rows == pytest.approx(10)
    assert server.fits or server.missing_gb < 1e-12
    longer = make_server(SHAPE, Precision.of("bfloat16"), hardware, IDEAL, PLAIN, num_gpus=1, longest=401.0, mean=40.0)
    assert longer.missing_gb == pytest.approx(8e-9)
    assert not longer.fits


def test_a_rollout_by_hand() -> None:
    cluster = small()
    sampler, searcher = cluster.sampler(1), cluster.searcher(1)
    # Two samplers, two episodes each, of two actions of five tokens: ten passes of two rows. Context: 10 of the prompt,
    # half of 25 as one of two actions has them before it, and half an action: 25 tokens, 16 operations each.
    writing = 10 * 2 * (288 + 16 * 25 + 80) / 1000
    # A row reads half a prompt and 20 of documents, 25 tokens that look at 25 on average, and the head twice.
    reading = (2 * 25 * (288 + 16 * 25) + 2 * 80) / 1000
    playing, search = rollout_seconds(cluster, sampler, 2, searcher, 4)
    assert playing == pytest.approx(writing + reading)
    # Four simulators, four episodes: never more than one search at each. It reads 10 tokens, then writes 20 that look
    # at 20 on average.
    one = (10 * (288 + 16 * 5) + 80) / 1000 + 20 * (288 + 16 * 20 + 80) / 1000
    assert search_seconds(cluster, searcher, 1) == pytest.approx(one)
    assert search == pytest.approx(one)


def test_a_sampler_without_room_goes_on_in_turns() -> None:
    cluster = small()
    roomy = cluster.sampler(1)
    tight = replace(roomy, rows=1.0)
    searcher = cluster.searcher(1)
    # Compute alone counts here, so that one row after the other takes as long as four side by side.
    assert rollout_seconds(cluster, tight, 1, searcher, 1)[0] == pytest.approx(
        rollout_seconds(cluster, roomy, 1, searcher, 1)[0]
    )
    # Where reading weights is what counts, a pass costs the same for one row as for four.
    reader = replace(COMPUTER, peak_tflops=1e9, bandwidth_gb_s=1e-6)
    bound = small(hardware=reader)
    roomy = bound.sampler(1)
    four, one = (rollout_seconds(bound, replace(roomy, rows=rows), 1, searcher, 1)[0] for rows in (4.0, 1.0))
    # Ten passes and forty; cache is read for four rows in each of the first, and for one in each of the others.
    weights, cache = 184 * 2, 25 * 8
    assert four == pytest.approx(10 * (weights + 4 * cache) / 1000, rel=1e-6)
    assert one == pytest.approx(40 * (weights + cache) / 1000, rel=1e-6)


def test_searches_wait_where_there_is_no_room() -> None:
    cluster = small()
    searcher = replace(cluster.searcher(1), rows=2.0)
    assert search_seconds(cluster, searcher, 8) == pytest.approx(4 * search_seconds(cluster, searcher, 2))


def test_searches_under_way_obey_littles_law() -> None:
    cluster = small(run=replace(RUN, questions=50))
    playing, search = rollout_seconds(cluster, cluster.sampler(1), 3, cluster.searcher(1), 2)
    under_way = 100 * search / (playing + search)
    assert search == pytest.approx(search_seconds(cluster, cluster.searcher(1), under_way / 2), rel=0.05)
    # A simulator on the sampler's own GPU answers all, and nothing is hidden behind anything.
    alone = rollout_seconds(cluster, cluster.sampler(1), 1, cluster.searcher(1), 0)[1]
    assert alone == pytest.approx(search_seconds(cluster, cluster.searcher(1), 100))


def test_an_update_shares_episodes_and_exchanges_weights() -> None:
    cluster = small(run=replace(RUN, questions=8, micro_batch_tokens=160))
    alone = update_phase(cluster, 1, micro_batch_tokens=160)
    assert alone.waiting == 0
    assert alone.computing == pytest.approx(plan_time(SHAPE, cluster.run, COMPUTER, IDEAL).update)
    # 16 episodes of 40 tokens, of which two learners have eight each, in two micro-batches: weights of two bytes are
    # gathered four times, gradients of four bytes scattered twice, half of each comes from the other.
    two = update_phase(cluster, 2, micro_batch_tokens=160)
    num_bytes = SHAPE.num_parameters * (4 * 2 + 2 * 4)
    assert two.waiting == pytest.approx(num_bytes / 2 / 450e9)
    assert two.computing == pytest.approx(alone.computing / 2, rel=0.01)
    # All of it is hidden behind as much computing.
    hidden = update_phase(small(run=cluster.run, numbers=replace(PLAIN, overlap=1)), 2, micro_batch_tokens=160)
    assert hidden.waiting == 0
    # There are 16 episodes: the seventeenth learner has none.
    assert (
        update_phase(cluster, 17, micro_batch_tokens=160).computing
        == update_phase(cluster, 16, micro_batch_tokens=160).computing
    )


def test_publishing_by_hand() -> None:
    big = small(policy=SHAPES["qwen2.5-3b"], numbers=replace(PLAIN, put_gb_s=2, transfer_gb_s=4, pcie_gb_s=50))
    gigabytes = 2 * SHAPES["qwen2.5-3b"].num_parameters / 1e9

    # To the CPU and into the store; of two learners, each has half.
    assert publish_seconds(big, 1) / gigabytes == pytest.approx(1 / 50 + 1 / 2)
    assert publish_seconds(big, 2) / gigabytes == pytest.approx(1 / 2 / 450 + 1 / 50 + 1 / 2)

    def fetching(learners: int, samplers: int, **more: int) -> float:
        return fetch_seconds(big, Split(learners=learners, samplers=samplers, **more)) / gigabytes

    # One machine: to each GPU its part.
    assert fetching(1, 4) == fetching(2, 6) == pytest.approx(1 / 50)
    assert fetching(1, 2, gpus_per_sampler=2) == pytest.approx(1 / 100)
    # Three more machines: the first is served in a round, the other two in the next.
    assert fetching(2, 30) == pytest.approx(2 / 4 + 1 / 50)
    # Learners that fill a machine, and samplers on another.
    assert fetching(8, 8) == pytest.approx(1 / 4 + 1 / 50)


PHASES = Phases(rollout=3, search=2, update=4, exchange=0.5, publish=1, fetch=0.125, driver=0.25)


def test_a_step_is_a_sum_or_the_slower_side() -> None:
    assert PHASES.step() == 3 + 2 + 0.25 + 0.125 + 4 + 0.5 + 1
    playing = replace(PHASES, rollout=3.5)
    assert playing.step(asynchronous=True) == 3.5 + 2 + 0.25 + 0.125
    learning = replace(PHASES, update=10)
    assert learning.step(asynchronous=True) == 10 + 0.5 + 1
    assert playing.bottleneck() == "update"
    # What is hidden is no bottleneck.
    assert playing.bottleneck(asynchronous=True) == "rollout"
    assert replace(learning, publish=20).bottleneck(asynchronous=True) == "publish"
    assert learning.bottleneck(asynchronous=True) == "update"


@pytest.mark.parametrize("what", ["samplers", "simulators", "learners"])
def test_more_of_a_kind_never_takes_longer(what: str) -> None:
    shape = SHAPES["qwen2.5-7b"]
    run = replace(RUN, questions=64, group_size=5, num_actions=3, action_tokens=125, max_new_tokens=500)
    run = replace(run, document_tokens=300, prompt_tokens=166, max_episode_tokens=4596, micro_batch_tokens=4596)
    h100 = Hardware(name="h100", is_gpu=True, peak_tflops=989, bandwidth_gb_s=3350, memory_gb=80)
    good = replace(IDEAL, mfu=0.4, decode_mfu=0.2, bandwidth_share=0.7, layer_overhead_us=20, pass_overhead_us=1000)
    cluster = Cluster(
        policy=shape, simulator=shape, run=run, hardware=h100, assumptions=good, numbers=ClusterNumbers(hop_us=0)
    )
    sampler, searcher = cluster.sampler(1), cluster.searcher(1)
    # Also where a sampler's cache holds a few episodes alone.
    for some in (sampler, replace(sampler, rows=20.0)):
        seconds = []
        for count in range(1, 321):
            if what == "learners":
                update = update_phase(cluster, count, micro_batch_tokens=4596)
                seconds.append(update.computing)
            else:
                samplers, simulators = (count, 4) if what == "samplers" else (4, count)
                seconds.append(sum(rollout_seconds(cluster, some, samplers, searcher, simulators)))
        # Whole searches side by side and a search for the balance leave steps of a few thousandths.
        assert all(after <= before * 1.005 for before, after in itertools.pairwise(seconds))
        assert seconds[-1] < 0.95 * seconds[0]


def test_numbers_are_checked_and_say_where_they_are_from() -> None:
    assert basis_of("put_gb_s")[0] == "measured"
    assert basis_of("network_gb_s")[0] == "vendor"
    assert {basis_of(name)[0] for name in ClusterNumbers.__dataclass_fields__} == {"vendor", "measured", "assumption"}
    with pytest.raises(ConfigError, match=r"overlap is a share of a whole, so at most 1; got 1.5"):
        ClusterNumbers(overlap=1.5)
    with pytest.raises(ConfigError, match="put_gb_s must be a finite number above 0; got 0"):
        ClusterNumbers(put_gb_s=0)
    with pytest.raises(ConfigError, match="gpus_per_node must be a whole number"):
        ClusterNumbers(gpus_per_node=0)
    assert math.isfinite(ClusterNumbers().spread)
