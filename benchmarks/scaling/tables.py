"""A record of the scaling benchmark as Markdown: what was measured, beside what was predicted."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["compare", "render"]


def compare(rounds: Sequence[Mapping[str, float]], predicted_s: float) -> dict[str, Any]:
    """An arm's steps beside the first arm's of the same rounds, and beside the prediction.

    Args:
        rounds: Of each round, the median step as `step_s`, and that of the first arm as `first_s`.
        predicted_s: Seconds of a step by the model.

    Returns:
        `step_s`, the median of the rounds; `ratio` to the first arm's, the median with `ratio_least` and `ratio_most`;
        `predicted_s`; and `error_percent`, by how much the prediction is above (or, below 0, under) what was measured.
    """
    ratios = [each["step_s"] / each["first_s"] for each in rounds]
    step_s = statistics.median(each["step_s"] for each in rounds)
    return {
        "step_s": step_s,
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "predicted_s": predicted_s,
        "error_percent": 100 * (predicted_s / step_s - 1),
    }


def render(record: Mapping[str, Any]) -> str:
    """Two tables and what they were measured with."""
    settings, machine, alone, ray = (record[name] for name in ("settings", "machine", "alone", "ray"))
    lines = [
        f"{settings['preset']}, {settings['questions']} × {settings['group_size']} episodes a step, "
        f"{settings['steps']} steps counted, {settings['repeats']} rounds, {machine['cpus']} cores shared with other "
        f"work (load {record['load'][0]:.1f} before, {record['load'][1]:.1f} after).",
        "",
        "| measured alone | all of a step | half of it |",
        "|---|---|---|",
        *(
            f"| {what}, s | {alone[name]['1']:.3f} | {alone[name]['0.5']:.3f} |"
            for what, name in (("a sampler plays", "rollout_s"), ("a learner learns", "update_s"))
        ),
        *_of_ray(alone, ray),
        "",
        "| | rollout, s | update, s | step, s | × one process | predicted, s | error |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in record["arms"]:
        found, median = arm["compared"], arm["median"]
        lines.append(
            f"| {arm['title']} | {median['rollout_s']:.2f} | {median['update_s']:.2f} | {found['step_s']:.2f} "
            f"| {found['ratio']:.2f} ({found['ratio_least']:.2f} to {found['ratio_most']:.2f}) "
            f"| {found['predicted_s']:.2f} | {found['error_percent']:+.0f} % |"
        )
    return "\n".join(lines)


def _of_ray(alone: Mapping[str, Any], ray: Mapping[str, float]) -> list[str]:
    """Nothing where no arm was Ray's."""
    if not ray:
        return []
    return [
        "",
        f"Ray: {ray['call_s'] * 1e3:.2f} ms a call; the weights, {alone['weights_bytes'] / 1e6:.1f} MB, "
        f"{ray['put_s'] * 1e3:.1f} ms into the store and {ray['get_s'] * 1e3:.1f} ms out of it; a step's episodes, "
        f"{alone['trajectories_bytes'] / 1e6:.2f} MB, {ray['there_and_back_s'] * 1e3:.1f} ms there and back; of 100 MB "
        f"{ray['put_gb_s']:.1f} GB/s in and {ray['get_gb_s']:.1f} GB/s out.",
    ]
