"""What was found for a cluster: as Markdown tables, and as a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from agents.plan.cluster import ClusterNumbers, basis_of
from agents.plan.scaling import PHASES, Cluster
from agents.plan.splits import Found

__all__ = ["SCHEMA", "STEPS", "Pair", "map_text", "numbers_text", "pair_text", "record_of"]

SCHEMA = "zerosearch.scaling-plan/1"

STEPS = 200
"""Of which GPU hours are shown."""

_BEFORE = ("GPUs", "used", "learners", "samplers", "simulators")
_BEHIND = ("step", "bottleneck", "episodes/s", "GPU-h")
_SHORT = {"rollout": "R", "search": "S", "update": "U", "exchange": "X", "publish": "P", "fetch": "F", "driver": "D"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A policy and a simulator, on several numbers of GPUs.

    Attributes:
        cluster: What was planned.
        cells: Number of GPUs to what was found, or why nothing was.
        least: See `Planner.least_gpus`.
    """

    cluster: Cluster
    cells: Mapping[int, Found | str]
    least: Mapping[str, int | None]


def map_text(pairs: Sequence[Pair], *, asynchronous: bool) -> str:
    """Seconds of a step and what takes most of it, for all pairs; the GPUs that are used where that is fewer."""
    counts = list(pairs[0].cells)
    lines = [
        f"Seconds of {_what(pairs[0].cluster, asynchronous)}",
        "",
        _row("policy", "simulator", *(f"{count} GPU{'s' if count > 1 else ''}" for count in counts)),
        _row(*["---"] * (len(counts) + 2)),
    ]
    for pair in pairs:
        cells = (_map_cell(found, count) for count, found in pair.cells.items())
        lines.append(_row(pair.cluster.policy.name, pair.cluster.simulator.name, *cells))
    legend = ", ".join(f"{short} {name}" for name, short in _SHORT.items())
    return "\n".join([*lines, "", f"{legend}; – does not fit; (n) only n of the GPUs are worth using."])


def pair_text(pair: Pair, *, asynchronous: bool) -> str:
    """All phases of one pair."""
    cluster = pair.cluster
    lines = [
        f"{cluster.policy.name} with simulators of {cluster.simulator.name}: {_what(cluster, asynchronous)}",
        "",
        _row(*_BEFORE, *PHASES, *_BEHIND),
        _row(*["---"] * (len(_BEFORE) + len(PHASES) + len(_BEHIND))),
    ]
    whys = {}
    for count, found in pair.cells.items():
        if isinstance(found, str):
            whys[count] = found
            continue
        split = found.split
        seconds = (f"{getattr(found.phases, name):.1f}" for name in PHASES)
        lines.append(
            _row(
                str(count),
                str(split.num_gpus),
                str(split.learners),
                _servers(split.samplers, split.gpus_per_sampler, none="the learner"),
                _servers(split.simulators, split.gpus_per_simulator, none="same GPU"),
                *seconds,
                f"{found.step:.1f}",
                found.bottleneck,
                f"{cluster.run.num_episodes / found.step:.1f}",
                f"{found.gpu_hours(STEPS):.0f}",
            )
        )
    note = f"Phases in seconds; GPU-h of {STEPS} steps, of the GPUs that are used; 2×4 are two of four GPUs each."
    return "\n".join([*lines, "", note, *_once(whys)])


def numbers_text(cluster: Cluster) -> str:
    """Every number that a table is worked out from, and where it is from."""
    lines = [_row("number", "value", "where it is from"), _row("---", "---", "---")]

    def show(name: str, value: float, source: str) -> None:
        lines.append(_row(f"`{name}`", _value(value), "given" if name in cluster.given else source))

    hardware, source = cluster.hardware, f"vendor: {cluster.hardware.source}"
    for name in ("peak_tflops", "bandwidth_gb_s", "memory_gb"):
        show(name, getattr(hardware, name), source)
    for item in fields(ClusterNumbers):
        show(item.name, getattr(cluster.numbers, item.name), ": ".join(basis_of(item.name)))
    used = ("mfu", "decode_mfu", "bandwidth_share", "layer_overhead_us", "pass_overhead_us", "logit_passes", "margin")
    for name in (*used, "runtime_gb", "actions_share", "action_share", "tokens_per_document"):
        show(name, getattr(cluster.assumptions, name), "assumption of the plan")
    for name in ("prompt_tokens", "num_actions", "action_tokens", "document_tokens", "max_episode_tokens"):
        show(name, getattr(cluster.run, name), "from the settings and the assumptions")
    return "\n".join(lines)


def record_of(pairs: Sequence[Pair], *, asynchronous: bool) -> dict[str, Any]:
    """All of it in plain JSON types."""
    first = pairs[0].cluster
    return {
        "schema": SCHEMA,
        "asynchronous": asynchronous,
        "hardware": asdict(first.hardware),
        "run": asdict(first.run),
        "assumptions": asdict(first.assumptions),
        "numbers": {
            item.name: {
                "value": getattr(first.numbers, item.name),
                "basis": "given" if item.name in first.given else basis_of(item.name)[0],
            }
            for item in fields(ClusterNumbers)
        },
        "pairs": [
            {
                "policy": pair.cluster.policy.name,
                "simulator": pair.cluster.simulator.name,
                "least_gpus": dict(pair.least),
                "cells": [_cell_record(count, found) for count, found in pair.cells.items()],
            }
            for pair in pairs
        ],
    }


def _cell_record(num_gpus: int, found: Found | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"num_gpus": num_gpus, "fits": False, "why_not": found}
    return {
        "num_gpus": num_gpus,
        "fits": True,
        "used_gpus": found.split.num_gpus,
        "split": asdict(found.split),
        "seconds": {name: getattr(found.phases, name) for name in PHASES} | {"step": found.step},
        "bottleneck": found.bottleneck,
        "gpu_hours": found.gpu_hours(STEPS),
    }


def _what(cluster: Cluster, asynchronous: bool) -> str:
    run = cluster.run
    how = "asynchronous" if asynchronous else "synchronous"
    return (
        f"a step of {run.questions} × {run.group_size} episodes, {how}, {cluster.hardware.name}, sampler "
        f"{run.sampler}. Estimates, not measurements."
    )


def _servers(count: int, width: int, *, none: str) -> str:
    if not count:
        return none
    return f"{count}×{width}" if width > 1 else str(count)


def _map_cell(found: Found | str, count: int) -> str:
    if isinstance(found, str):
        return "–"
    used = f" ({found.split.num_gpus})" if found.split.num_gpus < count else ""
    return f"{found.step:.0f} {_SHORT[found.bottleneck]}{used}"


def _once(whys: Mapping[int, str]) -> list[str]:
    """The reason for the largest number of GPUs that is too small."""
    return ["", whys[max(whys)]] if whys else []


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _value(value: float) -> str:
    return f"{value:,.6g}"
