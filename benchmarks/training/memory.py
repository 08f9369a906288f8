"""Resident memory of a process, and its peak since one last looked."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

__all__ = ["memory_mb", "reset_peak"]


def memory_mb() -> dict[str, float]:
    """Resident memory of this process in 10⁶ bytes: `now`, and at its `peak`."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
        return {"now": int(found["VmRSS"]) * 1024 / 1e6, "peak": int(found["VmHWM"]) * 1024 / 1e6}
    except (OSError, KeyError):  # not Linux
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        return {"now": peak, "peak": peak}


def reset_peak() -> None:
    """Forget the peak so far, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
