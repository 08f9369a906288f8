"""Servers that are started in a moment, and a look at what is left of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zs_env.serving import Launch, Server, WatchSettings
from zs_env.serving.checks import free_port

FAKE = Path(__file__).with_name("fake_server.py")
STUBS = Path(__file__).with_name("stubs")


def until(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped doesn't."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Fake:
    """The fake server, with what it told.

    Args:
        folder: For its logs and its process ids.
        words: What it is to do.
        watch: How it is watched, beyond what suits tests.
    """

    def __init__(self, folder: Path, words: str = "", **watch: Any) -> None:
        self.folder = folder
        self.said: list[str] = []
        port = free_port("127.0.0.1")
        launch = Launch(
            name="fake",
            command=(sys.executable, "-S", str(FAKE), "--port", str(port)),
            host="127.0.0.1",
            port=port,
            environment={"ZS_FAKE": words, "ZS_FAKE_PIDS": str(folder / "pids")},
        )
        given = {"log_dir": folder / "logs", "backoff_s": 0.01, "grace_s": 5.0, "start_timeout_s": 60.0, **watch}
        self.server = Server(launch, WatchSettings(**given), say=self.said.append)

    @property
    def pids(self) -> list[int]:
        """All processes that it ever started."""
        file = self.folder / "pids"
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    @property
    def running(self) -> list[int]:
        return [pid for pid in self.pids if runs(pid)]
