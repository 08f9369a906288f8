from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from agents.config import load_config, load_preset
from agents.plan.cluster import ClusterNumbers
from agents.plan.hardware import find_hardware
from agents.plan.memory import plan_memory
from agents.plan.reading import read_settings
from agents.plan.scaling import Cluster, Split
from agents.plan.shapes import SHAPES
from agents.plan.splits import Planner, learner_memory
from zs_env.errors import ConfigError

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def paper(policy: str = "3b", simulator: str = "14b", **assumed: object) -> Cluster:
    config = load_config(load_preset("zerosearch-qwen2.5-3b-grpo"))
    reading = read_settings(config, is_gpu=True, assumed={"sampler": "vllm", **assumed})
    return Cluster(
        policy=SHAPES[f"qwen2.5-{policy}"],
        simulator=SHAPES[f"qwen2.5-{simulator}"],
        run=reading.run,
        hardware=find_hardware("h100", dtype="bfloat16"),
        assumptions=reading.assumptions,
        numbers=ClusterNumbers(),
    )


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("policy", ["3b", "32b"])
def test_more_gpus_never_make_the_best_step_longer(policy: str, asynchronous: bool) -> None:
    planner = Planner(paper(policy))
    seconds = []
    for count in GPUS:
        try:
            found = planner.best(count, asynchronous=asynchronous)
        except ConfigError:
            assert not seconds  # once it fits, it fits
            continue
        assert found.split.num_gpus <= count
        assert found.step == planner.phases(found.split).step(asynchronous=asynchronous)
        seconds.append(found.step)
    assert len(seconds) >= 5
    # What is thinned out may be 2 % longer.
    assert all(after <= before * 1.02 for before, after in itertools.pairwise(seconds))


def test_the_best_of_few_gpus_is_found() -> None:
    planner = Planner(paper("7b", "7b"))
    seconds = {}
    for learners in range(1, 8):
        for samplers in range(1, 8):
            for simulators in range(1, 8):
                for widths in ((1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4)):
                    split = Split(
                        learners=learners,
                        samplers=samplers,
                        simulators=simulators,
                        gpus_per_sampler=widths[0],
                        gpus_per_simulator=widths[1],
                    )
                    if split.num_gpus <= 8 and learners >= 3:
                        seconds[split] = planner.phases(split).step()
    shortest = min(seconds.values())
    assert shortest <= planner.best(8).step <= 1.02 * shortest


def test_asynchronous_steps_are_shorter_and_need_samplers() -> None:
    planner = Planner(paper())
    assert planner.best(8, asynchronous=True).step < planner.best(8).step
    assert planner.best(2).split.samplers == 0
    with pytest.raises(ConfigError, match=r"does not fit 2 GPUs of 80 GB. GPUs of their own need: learners 1"):
        planner.best(2, asynchronous=True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"qwen2.5-32b with a simulator of qwen2.5-14b does not fit 8 GPUs of 80 GB"):
        Planner(paper("32b")).best(8)
    assert Planner(paper("32b")).least_gpus() == {"learners": 10, "a sampler": 1, "a simulator": 1}
    small = Planner(replace(paper("7b"), hardware=find_hardware("rtx4090", dtype="bfloat16")))
    with pytest.raises(ConfigError, match=r"qwen2.5-14b does not fit a simulator of 1 GPUs: each lacks 9.1 GB"):
        small.phases(Split(learners=64, samplers=1, gpus_per_sampler=2, simulators=1))
    with pytest.raises(ConfigError, match=r"does not fit 2 learners: .* of 80.0 GB on each. Give more learners"):
        Planner(paper("7b")).phases(Split(learners=2, samplers=1, simulators=1))
    with pytest.raises(ConfigError, match="2 learners and no samplers: only a single learner's GPU plays, too"):
        Planner(paper()).phases(Split(learners=2, samplers=0, simulators=1))
    with pytest.raises(ConfigError, match="does not fit a GPU that learns and plays beside a simulator"):
        Planner(paper()).phases(Split(learners=1, samplers=0, simulators=0))
    # Two key heads can't be spread over four GPUs.
    with pytest.raises(ConfigError, match=r"A sampler of 4 GPUs: qwen2.5-3b can be spread over 1, 2 of them"):
        Planner(paper()).phases(Split(learners=2, samplers=1, gpus_per_sampler=4, simulators=1))
    huge = Planner(replace(paper("32b"), hardware=replace(find_hardware("h100", dtype="bfloat16"), memory_gb=9.0)))
    with pytest.raises(ConfigError, match="a sampler more than any number tried"):
        huge.best(256)


def test_learners_share_states_and_keep_no_cache() -> None:
    cluster = paper("7b")
    run = replace(cluster.run, sampler="transformers")
    for learners in (4, 8):
        whole = plan_memory(cluster.policy, run, replace(cluster.hardware, num_devices=learners), cluster.assumptions)
        mine = learner_memory(cluster, learners, micro_batch_tokens=run.micro_batch_tokens)
        more = 1 + cluster.assumptions.margin
        twice = 2 * cluster.policy.num_parameters / learners  # a shard is its master
        assert mine.peak("step") == pytest.approx(whole.peak("step") - twice * more)
        # The embedding whole, twice in two bytes, and its gradient in four.
        gathered = 8 * cluster.policy.embedding_parameters
        assert mine.peak("update") == pytest.approx(whole.peak("update") + (gathered - twice) * more)
        assert mine.peak("rollout") < whole.peak("rollout")


def test_learners_with_little_memory_take_smaller_micro_batches() -> None:
    # Less room than for the preset's 16,384 tokens costs the learners more exchanges, and not the run.
    cluster = paper("7b", micro_batch_tokens=65_536)
    assert not learner_memory(cluster, 4, micro_batch_tokens=65_536).fits
    assert learner_memory(cluster, 4, micro_batch_tokens=16_384).fits
    whole = replace(cluster, numbers=replace(cluster.numbers, nvlink_gb_s=1.0, overlap=0.0))
    roomy = replace(whole, hardware=replace(whole.hardware, memory_gb=800))
    split = Split(learners=4, samplers=1, simulators=1)
    tight_s, roomy_s = (Planner(one).phases(split).exchange for one in (whole, roomy))
    assert tight_s > roomy_s > 0
