"""From runs to numbers: medians, their spread, and how many times as fast one arm is as another."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.training.running import ArmRun
from benchmarks.training.workload import Scenario

__all__ = ["Ratio", "arm_record", "ratios_of", "render"]

_MEMORY = "peak memory of the update"
_PHASES = ("rollout_s", "update_s", "step_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How much longer one arm takes than another.

    Attributes:
        slower: The arm above the line.
        faster: The arm below it.
        phase: "rollout", "update", "step" or "peak memory of the update"; of the bare model there is only its "update".
        median: Median over median.
        least: The least that both sides' spread allows: the best of the one over the worst of the other.
        most: The most that it allows.
    """

    slower: str
    faster: str
    phase: str
    median: float
    least: float
    most: float


def arm_record(run: ArmRun, scenario: Scenario, device: str = "cpu") -> dict[str, Any]:
    """An arm's measurements in plain JSON types."""
    median = {phase: statistics.median(getattr(step, phase) for step in run.steps) for phase in _PHASES}
    lengths = scenario.lengths
    return {
        "name": run.arm.name,
        "side": run.arm.side,
        "title": run.arm.title,
        "settings": run.arm.settings_on(device),
        "median": median,
        "tokens_per_s": lengths.tokens / median["step_s"],
        "policy_tokens_per_s": lengths.policy_tokens / median["step_s"],
        "loaded_mb": run.loaded_mb,
        "peak_mb": run.peak_mb,
        "update_peak_mb": run.update_peak_mb,
        "steps": [asdict(step) for step in run.steps],
    }


def ratios_of(runs: Sequence[ArmRun]) -> list[Ratio]:
    """Every arm of ours below every arm of the others, and the first of ours below the rest of ours; phase by phase."""
    ours = [run for run in runs if run.arm.side == "ours"]
    others = [run for run in runs if run.arm.side != "ours"]
    pairs = [(other, run) for run in ours for other in others] + [(run, ours[0]) for run in ours[1:]]
    ratios = []
    for slower, faster in pairs:
        phases = ("update_s",) if slower.arm.side == "plain" else _PHASES
        ratios += [_ratio(slower, faster, phase) for phase in phases]
        peak = slower.update_peak_mb / faster.update_peak_mb
        names = {"slower": slower.arm.name, "faster": faster.arm.name}
        ratios.append(Ratio(**names, phase=_MEMORY, median=peak, least=peak, most=peak))
    return ratios


def _ratio(slower: ArmRun, faster: ArmRun, phase: str) -> Ratio:
    above = [getattr(step, phase) for step in slower.steps]
    below = [getattr(step, phase) for step in faster.steps]
    return Ratio(
        slower=slower.arm.name,
        faster=faster.arm.name,
        phase=phase.removesuffix("_s"),
        median=statistics.median(above) / statistics.median(below),
        least=min(above) / max(below),
        most=max(above) / min(below),
    )


def render(scenario: Scenario, runs: Sequence[ArmRun], ratios: Sequence[Ratio]) -> str:
    """Both tables, in Markdown."""
    lengths = scenario.lengths
    turns = (
        f"{scenario.turns} turns of {scenario.policy_tokens} sampled tokens with {scenario.environment_tokens} of the "
        "environment between two of them"
        if scenario.turns > 1
        else f"one turn of {scenario.policy_tokens} sampled tokens"
    )
    lines = [
        f"{scenario.name}: {scenario.groups} groups of {scenario.group_size}, prompts of {scenario.prompt_tokens} "
        f"tokens, {turns}: {lengths.tokens} tokens a step, {lengths.policy_tokens} of them the policy's.",
        "",
        "| arm | rollout | update | step | tokens/s | policy's tokens/s | loaded | peak | of the update |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        record = arm_record(run, scenario)
        phases = [_spread([getattr(step, phase) for step in run.steps]) for phase in _PHASES]
        speeds = [f"{record[name]:.0f}" for name in ("tokens_per_s", "policy_tokens_per_s")]
        if run.arm.side == "plain":  # it plays nothing, so it has no whole step
            phases[0] = phases[2] = "—"
            speeds = ["—", "—"]
        memory = [f"{megabytes / 1000:.2f} GB" for megabytes in (run.loaded_mb, run.peak_mb, run.update_peak_mb)]
        lines.append(f"| {run.arm.name}: {run.arm.title} | {' | '.join([*phases, *speeds, *memory])} |")
    if ratios:
        lines += ["", "| ratio | phase | median over median | least to most |", "|---|---|---|---|"]
    for ratio in ratios:
        # One peak is all that a process has: it has no spread.
        spread = "" if ratio.phase == _MEMORY else f"{ratio.least:.2f} to {ratio.most:.2f}"
        lines.append(f"| {ratio.slower} / {ratio.faster} | {ratio.phase} | {ratio.median:.2f} | {spread} |")
    return "\n".join(lines)


def _spread(seconds: Sequence[float]) -> str:
    median = statistics.median(seconds)
    digits = 1 if median >= 1 else 3
    low, high = min(seconds), max(seconds)
    return f"{median:.{digits}f} s ({low:.{digits}f} to {high:.{digits}f})"
