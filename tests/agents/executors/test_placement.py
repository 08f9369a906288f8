"""Whether a run's processes fit the machines, told before any is started."""

from __future__ import annotations

import pytest

from agents.executors.placement import Need, Node, check_placement, needs_of
from agents.executors.settings import ScaleSettings
from zs_env.errors import ConfigError


def need(count: int, *, cpus: float = 1.0, gpus: float = 0.0, name: str = "learners") -> Need:
    return Need(name=name, count=count, cpus=cpus, gpus=gpus, flag=f"--num-{name}")


@pytest.mark.parametrize(
    ("needs", "nodes"),
    [
        ([need(2, cpus=0.5)], [Node(cpus=1, gpus=0)]),
        ([need(10, cpus=0.1)], [Node(cpus=1, gpus=0)]),  # ten tenths are one, also in floats
        ([need(4, gpus=0.5)], [Node(cpus=4, gpus=2)]),
        # One GPU each would leave no machine with two: what needs most of one comes first.
        ([need(2, gpus=1), need(1, gpus=2, name="samplers")], [Node(cpus=9, gpus=2), Node(cpus=9, gpus=2)]),
        # Those without a GPU leave the machine with GPUs to those that need it.
        ([need(2), need(2, gpus=1, name="samplers")], [Node(cpus=2, gpus=2), Node(cpus=2, gpus=0)]),
    ],
)
def test_what_fits(needs: list[Need], nodes: list[Node]) -> None:
    check_placement(needs, nodes)


@pytest.mark.parametrize(
    ("needs", "nodes"),
    [
        ([need(3)], [Node(cpus=2, gpus=0)]),
        ([need(1, gpus=2)], [Node(cpus=8, gpus=1), Node(cpus=8, gpus=1)]),  # each lies on one machine
        ([need(1, cpus=2)], [Node(cpus=1, gpus=0), Node(cpus=1, gpus=0)]),
        ([need(1)], []),
    ],
)
def test_what_does_not_fit(needs: list[Need], nodes: list[Node]) -> None:
    with pytest.raises(ConfigError, match="they don't fit"):
        check_placement(needs, nodes)


def test_the_message_says_what_is_asked_what_there_is_and_what_to_change() -> None:
    scale = ScaleSettings(num_learners=2, num_samplers=3, num_simulators=1)
    needs = needs_of(scale, on_gpu=True, share_cpus_of=None)
    with pytest.raises(ConfigError) as caught:
        check_placement(needs, [Node(cpus=8, gpus=4), Node(cpus=2, gpus=0.5)])
    assert str(caught.value) == (
        "The run asks for 2 learners with 1 GPUs and 1 cores each, 3 samplers with 1 GPUs and 1 cores each, 1 "
        "simulator with 1 GPUs and 1 cores: 6 GPUs and 6 cores in all. Free are 4 GPUs with 8 cores and 0.5 GPUs "
        "with 2 cores, a machine each, and they don't fit. Lower --num-learners or --num-samplers or --num-simulators, "
        "give some of them a part of a GPU (--gpus-per-learner 0.5), or add machines to the cluster."
    )


def test_processes_share_the_cores_of_one_machine() -> None:
    scale = ScaleSettings(num_learners=4, num_samplers=3)
    assert {one.cpus for one in needs_of(scale, on_gpu=False, share_cpus_of=2)} == {0.2857}  # 2 / 7, rounded down
    assert {one.cpus for one in needs_of(scale, on_gpu=False, share_cpus_of=64)} == {1.0}
    for cores in (1, 2, 3, 5):
        needs = needs_of(scale, on_gpu=False, share_cpus_of=cores)
        check_placement(needs, [Node(cpus=cores, gpus=0)])


def test_gpus_are_those_that_are_asked_for() -> None:
    scale = ScaleSettings(gpus_per_learner=0.5, gpus_per_sampler=2)
    assert [one.gpus for one in needs_of(scale, on_gpu=True, share_cpus_of=None)] == [0.5, 2]
    assert [one.gpus for one in needs_of(ScaleSettings(), on_gpu=True, share_cpus_of=None)] == [1, 1]
    assert [one.gpus for one in needs_of(ScaleSettings(), on_gpu=False, share_cpus_of=None)] == [0, 0]
