"""Sweeps over training settings with Ray Tune: `python -m agents sweep`, or `sweep` from Python.

Each trial is a run like any other, in a folder of its own. ASHA stops trials that are behind, and a sweep that was
killed goes on where it was. Importing this imports neither ray nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.tune.running import sweep
    from agents.tune.settings import Sweep, SweepSettings, read_sweep

__all__ = ["Sweep", "SweepSettings", "read_sweep", "sweep"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: settings of training bring torch, and `--help` is to be quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from agents.tune import running, settings

    return getattr(running if name == "sweep" else settings, name)
