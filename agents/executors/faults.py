"""What errors of other processes mean. Nothing here imports ray."""

from __future__ import annotations

from typing import Any

from agents.errors import TrainingError

__all__ = ["is_lost_object", "lacks_room"]


def is_lost_object(ray: Any, error: BaseException) -> bool:
    """Whether something that a process had published is gone, as after the death of the machine that it lay on."""
    lost = (ray.exceptions.ObjectLostError, ray.exceptions.ObjectFetchTimedOutError, ray.exceptions.OwnerDiedError)
    return isinstance(error, lost)


def lacks_room(who: str, timeout_s: float, why: str) -> TrainingError:
    """What to raise for a process that no machine had room for.

    Args:
        who: The process.
        timeout_s: How long it was waited for.
        why: What it asks for and what there is; empty if a machine did take it.
    """
    return TrainingError(f"{who} found no machine with room for it within start_timeout_s={timeout_s:g}. {why}")
