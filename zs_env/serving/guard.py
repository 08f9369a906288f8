"""Runs a server, and leaves nothing of it behind: a program of its own, of the standard library alone.

`python guard.py PARENT_PID GRACE_S COMMAND…` starts the command in a process group of its own and writes its process id
to standard output. It ends the command with all that it started (model servers start workers that hold a GPU's memory)
when it is told to (SIGTERM), when its parent is gone (however that died), and when the command itself ends. It ends as
the command did: with its status, or of its signal.

It stands between a program and its server because a program that is killed can clean up nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from types import FrameType

__all__: list[str] = []

POLL_S = 0.1
LEFTOVER_S = 2.0
KILL_S = 10.0

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    """Linux's prctl; nothing elsewhere."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> set[int]:
    """The processes that a process started, and those that they started; known on Linux alone."""
    parents: dict[int, int] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    with open(f"/proc/{name}/stat", "rb") as file:
                        state, parent = file.read().rpartition(b")")[2].split()[:2]
                    if state != b"Z":
                        parents[int(name)] = int(parent)
    found: set[int] = set()
    new = {root}
    while new:
        new = {process for process, parent in parents.items() if parent in new} - found
        found |= new
    return found


class Guard:
    """One command, and all that it starts.

    Args:
        command: What to run.
        parent: The process that it is run for.
        grace_s: How long it may take to end by itself.
    """

    def __init__(self, command: list[str], parent: int, grace_s: float) -> None:
        self.parent, self.grace_s = parent, grace_s
        self.status: int | None = None
        self.told = False
        signal.signal(signal.SIGTERM, self._tell)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the command become ours, so that they are found
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=2, process_group=0, preexec_fn=_in_child
        )

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self.told = True

    def reap(self) -> None:
        """Take note of what ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if process == 0:
                    return
                if process == self.child.pid:
                    self.status = self.child.returncode = os.waitstatus_to_exitcode(status)

    def left(self) -> bool:
        """Whether anything of the command still runs."""
        if self.status is None or descendants(os.getpid()):
            return True
        if sys.platform == "linux":
            return False
        try:
            os.killpg(self.child.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def run(self) -> int:
        """Wait for an end, and make it complete; returns the command's status, negative for a signal."""
        while self.status is None and not self.told and os.getppid() == self.parent:
            time.sleep(POLL_S)
            self.reap()
        self._signal(signal.SIGTERM)
        asked_all = False
        until = time.monotonic() + self.grace_s
        while self.left() and time.monotonic() < until:
            if self.status is not None and not asked_all:
                asked_all, until = True, min(until, time.monotonic() + LEFTOVER_S)
                self._signal_all(signal.SIGTERM)
            time.sleep(POLL_S / 5)
            self.reap()
        until = time.monotonic() + KILL_S
        while self.left() and time.monotonic() < until:
            self._signal_all(signal.SIGKILL)
            time.sleep(POLL_S / 5)
            self.reap()
        return -signal.SIGKILL if self.status is None else self.status

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, number)

    def _signal_all(self, number: int) -> None:
        self._signal(number)
        for process in descendants(os.getpid()):  # those in sessions of their own too
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)


def _in_child() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # should this guard be killed itself


def main() -> None:
    """Guard the command in the arguments."""
    parent, grace_s, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    try:
        guard = Guard(command, parent, grace_s)
    except OSError as error:
        told = {"error": f"{command[0]!r} can't be run: {error.strerror or error}"}
        os.write(1, json.dumps(told).encode() + b"\n")
        sys.exit(127)
    with contextlib.suppress(OSError):  # the parent may be gone already
        os.write(1, json.dumps({"pid": guard.child.pid}).encode() + b"\n")
    os.close(1)
    status = guard.run()
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = -status
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(status if 0 <= status < 256 else 1)


if __name__ == "__main__":
    main()
