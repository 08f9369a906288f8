"""A plan as a readable text, and as a record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from agents.plan.fitting import Change
from agents.plan.hardware import Hardware
from agents.plan.memory import MemoryPlan, Phase
from agents.plan.reading import Reading
from agents.plan.shapes import ModelShape
from agents.plan.timing import TimePlan

__all__ = ["Plan", "plan_record", "plan_text"]

_PHASES: tuple[Phase, ...] = ("rollout", "update", "step")
_UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of a plan.

    Attributes:
        shape: The model's.
        reading: What of the settings it was worked out from.
        hardware: What it is for.
        memory: What lies on each device.
        time: Seconds.
        alone: Changes each of which makes it fit; none if it fits.
        together: Changes that make it fit together, where none does alone.
    """

    shape: ModelShape
    reading: Reading
    hardware: Hardware
    memory: MemoryPlan
    time: TimePlan
    alone: tuple[Change, ...] = ()
    together: tuple[Change, ...] = ()


def plan_record(plan: Plan) -> dict[str, Any]:
    """A plan in plain JSON types: bytes and seconds."""
    memory, time = plan.memory, plan.time
    seconds = {name: value for name, value in asdict(time).items() if name != "total_steps"}
    return {
        "schema": "zerosearch.plan/1",
        "model": asdict(plan.shape) | {"num_parameters": plan.shape.num_parameters},
        "hardware": asdict(plan.hardware),
        "run": asdict(plan.reading.run),
        "assumptions": asdict(plan.reading.assumptions),
        "given": sorted(plan.reading.given),
        "memory": {
            "items": [asdict(item) for item in memory.items],
            "peak_bytes": {phase: memory.peak(phase) for phase in _PHASES},
            "available_bytes": memory.available,
            "fits": memory.fits,
        },
        "seconds": seconds | {"rollout": time.rollout, "step": time.step, "run": time.run},
        "changes": {
            name: [
                {
                    "text": change.text,
                    "effect": change.effect,
                    "peak_bytes": change.most,
                }
                for change in changes
            ]
            for name, changes in (("alone", plan.alone), ("together", plan.together))
        },
    }


def plan_text(plan: Plan) -> str:
    """A plan for people."""
    run, hardware, time = plan.reading.run, plan.hardware, plan.time
    each = f" on each of {hardware.num_devices} GPUs" if hardware.num_devices > 1 else ""
    lines = [
        "These are estimates: formulas and the assumptions below, no measurement of this run.",
        "",
        f"Model      {plan.shape.name}, {plan.shape.num_parameters / 1e6:,.1f} million parameters, {run.dtype}",
        f"Hardware   {hardware.num_devices} × {hardware.name}: {hardware.peak_tflops:.3g} TFLOP/s, "
        f"{hardware.bandwidth_gb_s:.4g} GB/s, {hardware.memory_gb:.4g} GB ({hardware.source})",
        f"A step     {run.questions} questions × {run.group_size} episodes of about {run.episode_tokens:,.0f} tokens, "
        f"{run.policy_tokens:,.0f} of them the policy's: {run.num_episodes * run.episode_tokens:,.0f} tokens",
        "",
        f"Memory{each}, in GB (10⁹ bytes)",
        *_table((item.name, _gb(item.num_bytes), item.phase) for item in plan.memory.items),
        *_table(
            (f"peak of the {phase}, margin {plan.memory.margin:.0%}", _gb(plan.memory.peak(phase)), "")
            for phase in _PHASES
        ),
        _verdict(plan),
        *_changes(plan),
        "",
        "Time of a step",
        *_table(
            (name, _duration(seconds), f"{seconds / time.step:4.0%}" if time.step else "")
            for name, seconds in (
                ("reading prompts", time.prefill),
                ("writing actions", time.decode),
                ("waiting for searches", time.search),
                ("reference", time.reference),
                ("old log-probs", time.old_logprobs),
                ("critic", time.critic),
                ("update", time.update),
            )
            if seconds
        ),
        *_table([("a step", _duration(time.step), "")]),
        *_table([(f"{time.total_steps} steps", _duration(time.step * time.total_steps), "")]),
        *_table([("measuring before and after", _duration(time.evaluation), "")]),
        *_table([("the run", _duration(time.run), "")]),
        "",
        "Assumptions (--assume NAME=VALUE gives another)",
        *_table(
            (name, _number(value), "given" if name in plan.reading.given else "")
            for name, value in asdict(plan.reading.assumptions).items()
        ),
        "From the settings (--assume does for these, too)",
        *_table(
            (name, _number(value), "given" if name in plan.reading.given else "") for name, value in asdict(run).items()
        ),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _verdict(plan: Plan) -> str:
    memory = plan.memory
    of = f"{memory.most / 1e9:.1f} of {memory.available / 1e9:.1f} GB"
    return f"  It fits: {of}." if memory.fits else f"  It does not fit: {of}."


def _changes(plan: Plan) -> list[str]:
    if plan.memory.fits:
        return []
    if not (plan.alone or plan.together):
        return ["  No known change makes it fit: take a smaller model or more memory."]
    head = "  Any one of these makes it fit:" if plan.alone else "  No single change makes it fit; these do together:"
    lines = [head]
    for change in plan.alone or plan.together:
        lines.append(f"    {change.text}: {change.most / 1e9:.1f} GB; {change.effect}")
    return lines


def _table(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    return [f"  {name:<34} {value:>12}  {note}" for name, value, note in rows]


def _number(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.6g}" if isinstance(value, (int, float)) else str(value)


def _gb(num_bytes: float) -> str:
    """Bytes in 10⁹, with more digits where there are few.

    Examples:
        >>> _gb(12_345_678_901), _gb(706_000)
        ('12.35', '0.0007')
    """
    return f"{num_bytes / 1e9:.2f}" if num_bytes >= 1e8 else f"{num_bytes / 1e9:.4f}"


def _duration(seconds: float) -> str:
    """Seconds in a unit that people read.

    Examples:
        >>> [_duration(seconds) for seconds in (0.25, 90, 8_000, 200_000)]
        ['250 ms', '1.5 min', '2.2 h', '2.3 days']
    """
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if size < 1 else f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e3:.2g} ms"
