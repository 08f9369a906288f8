"""Whether the processes of a run fit the machines, told before any of them is started. Nothing here imports ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.executors.settings import ScaleSettings
from zs_env.errors import ConfigError

__all__ = ["Need", "Node", "check_placement", "check_this_machine", "needs_of", "there_are", "wants_gpus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Processes of one kind.

    Attributes:
        name: What they are, in the plural.
        count: How many.
        cpus: Cores that each asks for; a part of one lets several share it.
        gpus: GPUs of each.
        flag: What to change to have fewer of them.
    """

    name: str
    count: int
    cpus: float
    gpus: float
    flag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine's cores and GPUs that nobody uses."""

    cpus: float
    gpus: float


def needs_of(scale: ScaleSettings, *, on_gpu: bool, share_cpus_of: int | None) -> list[Need]:
    """What a run's processes ask for.

    Args:
        scale: The settings.
        on_gpu: Whether models compute on GPUs, where the settings leave that open.
        share_cpus_of: Where Ray is started for this run alone, the machine's cores, which all processes share evenly if
            there are fewer of them than processes; None for a cluster, where each process has one core.
    """
    default = 1.0 if on_gpu else 0.0
    count = scale.num_learners + scale.num_samplers + scale.num_simulators
    # Ray counts in ten-thousandths.
    cpus = 1.0 if share_cpus_of is None else min(1.0, int(share_cpus_of / count * 1e4) / 1e4)
    learner = default if scale.gpus_per_learner is None else scale.gpus_per_learner
    sampler = default if scale.gpus_per_sampler is None else scale.gpus_per_sampler
    needs = [
        Need(name="learners", count=scale.num_learners, cpus=cpus, gpus=learner, flag="--num-learners"),
        Need(name="samplers", count=scale.num_samplers, cpus=cpus, gpus=sampler, flag="--num-samplers"),
    ]
    if scale.num_simulators:
        gpus = float(scale.gpus_per_simulator)
        needs.append(Need(name="simulators", count=scale.num_simulators, cpus=cpus, gpus=gpus, flag="--num-simulators"))
    return needs


def check_placement(needs: Sequence[Need], nodes: Sequence[Node]) -> None:
    """Refuse processes that don't fit; each lies on one machine.

    Raises:
        ConfigError: It says what is asked for, what there is, and what to change.

    Examples:
        >>> gpus = Need(name="learners", count=4, cpus=1, gpus=1, flag="--num-learners")
        >>> check_placement([gpus], [Node(cpus=8, gpus=2), Node(cpus=8, gpus=2)])
    """
    left = [[node.cpus, node.gpus] for node in nodes]
    # Those that need most of one machine first, as nothing else could make room for them.
    for need in sorted(needs, key=lambda need: (-need.gpus, -need.cpus)):
        for _ in range(need.count):
            room = [free for free in left if free[0] + 1e-9 >= need.cpus and free[1] + 1e-9 >= need.gpus]
            if not room:
                raise ConfigError(_too_much(needs, nodes))
            # The fullest that still has room, so that larger holes stay; of GPUs first.
            chosen = min(room, key=lambda free: (free[1], free[0]))
            chosen[0] -= need.cpus
            chosen[1] -= need.gpus


def check_this_machine(scale: ScaleSettings, device: str, *, cpus: int, gpus: int) -> None:
    """`check_placement` for a run that starts a cluster of its own, before it has loaded anything.

    Args:
        scale: The settings; with an address nothing is known yet, so nothing is checked.
        device: `[run] device`.
        cpus: This machine's cores.
        gpus: Its GPUs.
    """
    if scale.address is None:
        needs = needs_of(scale, on_gpu=wants_gpus(device, gpus), share_cpus_of=cpus)
        check_placement(needs, [Node(cpus=cpus, gpus=gpus)])


def wants_gpus(device: str, free: float) -> bool:
    """Whether models compute on GPUs, by `[run] device` and how many GPUs are free."""
    return device.startswith("cuda") or (device == "auto" and free > 0)


def there_are(nodes: Sequence[Node]) -> str:
    """What is free, in words."""
    if not nodes:
        return "none"
    return " and ".join(f"{node.gpus:g} GPUs with {node.cpus:g} cores" for node in nodes) + ", a machine each"


def _too_much(needs: Sequence[Need], nodes: Sequence[Node]) -> str:
    asked = ", ".join(
        f"{need.count} {need.name if need.count > 1 else need.name.rstrip('s')} with {need.gpus:g} GPUs and "
        f"{need.cpus:g} cores{' each' if need.count > 1 else ''}"
        for need in needs
    )
    gpus, cpus = (sum(getattr(need, kind) * need.count for need in needs) for kind in ("gpus", "cpus"))
    flags = " or ".join(need.flag for need in needs)
    if gpus and not any(node.gpus for node in nodes):
        return (
            f"The run asks for {asked}, and no GPU is free. Give --device cpu, with --gpus-per-learner 0 and "
            "--gpus-per-sampler 0 if they are set, or add machines that have some."
        )
    return (
        f"The run asks for {asked}: {gpus:g} GPUs and {cpus:g} cores in all. Free are {there_are(nodes)}, and they "
        f"don't fit. Lower {flags}, give some of them a part of a GPU (--gpus-per-learner 0.5), or add machines to the "
        "cluster."
    )
