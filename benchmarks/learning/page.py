"""The study's tables and picture, of its records alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.learning.arms import ARMS, Arm
from benchmarks.learning.picture import draw_curves
from zs_env.intervals import difference_interval

__all__ = ["mean_interval", "render", "steadiness", "write_page"]

_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""97.5 % quantiles of Student's t by degrees of freedom."""

_HEAD = """# Does it learn, and from what?

This page is written by `python -m benchmarks learning --page docs/learning.md` from the records in
`benchmarks/results/learning/`; nothing in it is typed in. What it means is said in the [log](LOG.md).

Every run is the [quickstart](training.md) with one thing changed, on one thread, measured greedily on the same test
questions. Mean over seeds, with the 95 % t-interval of that mean and, after it, the lowest and highest seed. "Fall" is
the deepest fall of a training curve's running mean of exact match (5 steps) below the highest it had reached: the
smaller, the steadier. CPU seconds are of training alone; other work shared the machine, so compare them roughly.
Newcombe's interval takes the two shares for independent; they are of the same questions, so it is rather too wide.

![Exact match in training, an arm a panel; thin lines are seeds, the thick one is their mean]({picture})

"""

Record = Mapping[str, Any]


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % t-interval of the mean over seeds; None for a single one.

    Examples:
        >>> tuple(round(end, 3) for end in mean_interval([0.8, 0.82, 0.87]))
        (0.74, 0.92)
    """
    if len(values) < 2:
        return None
    half = _T.get(len(values) - 1, 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half


def steadiness(curve: Sequence[float], window: int = 5) -> float:
    """The deepest fall of a curve's running mean below the highest it had reached before.

    Examples:
        >>> steadiness([0.2, 0.4, 0.6, 0.3, 0.5], window=1)
        0.3
    """
    means = [statistics.fmean(curve[max(at - window + 1, 0) : at + 1]) for at in range(len(curve))]
    best, deepest = -math.inf, 0.0
    for mean in means:
        best = max(best, mean)
        deepest = max(deepest, best - mean)
    return deepest


def render(records: Sequence[Record]) -> str:
    """Every table, in Markdown."""
    by_arm: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record["seed"]):
        by_arm.setdefault(str(record["arm"]), []).append(record)
    parts = [
        _table("Algorithms", ["algorithms"], by_arm),
        _table("Noise in training (GRPO)", ["noise"], by_arm, with_arm="grpo"),
        _table("Ablations (GRPO)", ["ablations"], by_arm, with_arm="grpo"),
        _controls(by_arm),
        _every_run(by_arm),
    ]
    return "\n\n".join(part for part in parts if part)


def write_page(records: Sequence[Record], path: Path) -> None:
    """The tables as a page, with the curves in a picture of the same name beside it."""
    picture = path.with_suffix(".svg")
    picture.write_text(draw_curves(records), encoding="utf-8")
    head = _HEAD.format(picture=picture.name)
    path.write_text(head + render(records) + "\n", encoding="utf-8")


def _measure(key: str, noise: str) -> Callable[[Record], float | None]:
    def value(record: Record) -> float | None:
        found: float | None = record["after"][noise].get(key)
        return found

    return value


def _again(record: Record) -> float | None:
    found: float | None = record["after"]["noise_0.5"]["search_again_single_hop"]["difference"]
    return found


def _fall(record: Record) -> float | None:
    curve = record["curves"].get("exact_match")
    return steadiness(curve) if curve else None


_COLUMNS: dict[str, Callable[[Record], float | None]] = {
    "exact match, noise 0": _measure("em_greedy", "noise_0"),
    "exact match, noise 0.5": _measure("em_greedy", "noise_0.5"),
    "searches again: noisy − useful, one hop": _again,
    "fall": _fall,
}


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    interval = mean_interval(known)
    if interval is None:
        return f"{known[0]:.3f}"
    return f"{statistics.fmean(known):.3f} [{interval[0]:.3f}, {interval[1]:.3f}]; {min(known):.3f} to {max(known):.3f}"


def _row(arm: Arm, records: Sequence[Record]) -> str:
    cells = [arm.title, str(len(records)), str(records[0]["steps"])]
    cells += [_cell([value(record) for record in records]) for value in _COLUMNS.values()]
    cells.append(f"{statistics.fmean(record['seconds']['cpu'] for record in records):.0f}")
    return "| " + " | ".join(cells) + " |"


def _table(title: str, groups: Sequence[str], by_arm: Mapping[str, list[Record]], with_arm: str | None = None) -> str:
    rows = [
        _row(arm, by_arm[arm.name])
        for arm in ARMS
        if (arm.group in groups or arm.name == with_arm) and arm.name in by_arm
    ]
    if len(rows) < 1 + (with_arm is not None):
        return ""
    heads = ["", "seeds", "steps", *_COLUMNS, "CPU s"]
    return "\n".join([f"## {title}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *rows])


def _controls(by_arm: Mapping[str, list[Record]]) -> str:
    """What RL is compared with, each seed with its own run, on the same questions."""
    ours = by_arm.get("grpo", [])
    rows = []
    for name in ("start", "supervised", "shuffled"):
        for control in by_arm.get(name, []):
            own = [record for record in ours if name == "start" or record["seed"] == control["seed"]]
            title = next(arm.title for arm in ARMS if arm.name == name)
            rows += [_against(title, record, control["after"]["noise_0"], control["steps"]) for record in own]
    for key, title in (
        ("closed_book", "the same policy, closed book"),
        ("random_queries", "the same policy, random queries"),
    ):
        rows += [_against(title, record, record["after"][key], None) for record in ours if key in record["after"]]
    if not rows:
        return ""
    heads = ["control", "seed", "its steps", "control's exact match", "GRPO's", "difference, 95 % (Newcombe)"]
    return "\n".join(["## Controls (noise 0)", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *rows])


def _against(title: str, ours: Record, theirs: Record, steps: int | None) -> str:
    mine = ours["after"]["noise_0"]
    low, high = difference_interval(
        mine["em_greedy"] * mine["n"], mine["n"], theirs["em_greedy"] * theirs["n"], theirs["n"]
    )
    difference = mine["em_greedy"] - theirs["em_greedy"]
    cells = [title, str(ours["seed"]), "–" if steps is None else str(steps), f"{theirs['em_greedy']:.3f}"]
    cells += [f"{mine['em_greedy']:.3f}", f"{difference:.3f} [{low:.3f}, {high:.3f}]"]
    return "| " + " | ".join(cells) + " |"


def _every_run(by_arm: Mapping[str, list[Record]]) -> str:
    heads = ["arm", "seed", "noise 0", "noise 0.5", "noise 0, two hops", "noisy − useful, 95 %", "CPU s"]
    rows = []
    for arm in ARMS:
        for record in by_arm.get(arm.name, []):
            clean, noisy = record["after"]["noise_0"], record["after"]["noise_0.5"]
            again = noisy["search_again_single_hop"]
            cells = [arm.name, str(record["seed"]), _share(clean), _share(noisy)]
            cells.append(f"{clean['em_greedy_by_hops'].get('2', {}).get('em', math.nan):.3f}")
            interval = again["difference_ci"]
            cells.append(
                "–" if interval is None else f"{again['difference']:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"
            )
            cells.append(f"{record['seconds']['cpu']:.0f}")
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(["## Every run", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *rows])


def _share(measured: Record) -> str:
    low, high = measured["em_greedy_ci"]
    return f"{measured['em_greedy']:.3f} [{low:.3f}, {high:.3f}]"
