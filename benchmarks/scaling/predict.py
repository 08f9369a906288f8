"""What a step of an arm should take, from its parts as they were measured alone.

The sum or the larger side is that of `agents.plan.scaling.Phases`, the model that the tables for many GPUs come from;
only the phases are measured here instead of worked out from operations and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.plan.scaling import Phases
from benchmarks.scaling.arms import Arm

__all__ = ["predict"]


def predict(arm: Arm, alone: Mapping[str, Any], ray: Mapping[str, float]) -> Phases:
    """Seconds of each phase.

    A sampler or learner of two has half of the episodes, which were measured alone, too: half the work is more than
    half the time where a pass has an overhead. The fullest of two samplers is taken to have half. What learners gather
    from each other is not counted: both are on one machine, and how fast they talk wasn't measured alone.

    Args:
        arm: Which.
        alone: The fields of `Alone`, by name.
        ray: See `measure_ray`.
    """
    rollout = alone["rollout_s"][_share(max(arm.samplers, 1))]
    update = alone["update_s"][_share(arm.learners)]
    if not arm.samplers:
        return Phases(rollout=rollout, search=0.0, update=update, exchange=0.0, publish=0.0, fetch=0.0, driver=0.0)
    # Episodes go to the driver, and to the learners for log-probs and for the update; a call to each for all of these.
    calls = arm.samplers + 4 * arm.learners
    return Phases(
        rollout=rollout,
        search=0.0,
        update=update + ray["there_and_back_s"],
        exchange=0.0,
        publish=ray["put_s"],
        fetch=ray["get_s"],
        driver=calls * ray["call_s"] + ray["there_and_back_s"] / 2,
    )


def _share(count: int) -> str:
    return f"{1 / count:g}"
