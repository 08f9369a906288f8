"""Memory of a process, and its peak since one last looked: resident, or on a GPU what torch's tensors take there."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

__all__ = ["memory_mb", "reset_peak", "wait"]


def memory_mb(device: str = "cpu") -> dict[str, float]:
    """Memory of this process in 10⁶ bytes: `now`, and at its `peak`.

    Args:
        device: "cpu" for resident memory, "cuda" for what tensors take on the GPU.
    """
    if device != "cpu":
        import torch

        return {"now": torch.cuda.memory_allocated() / 1e6, "peak": torch.cuda.max_memory_allocated() / 1e6}
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
        return {"now": int(found["VmRSS"]) * 1024 / 1e6, "peak": int(found["VmHWM"]) * 1024 / 1e6}
    except (OSError, KeyError):  # not Linux
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        return {"now": peak, "peak": peak}


def reset_peak(device: str = "cpu") -> None:
    """Forget the peak so far, where the system can."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def wait(device: str) -> None:
    """Wait until the device has done what it was given: a GPU works on while Python goes on."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
