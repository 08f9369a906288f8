"""One run of a server: started under its guard, watched, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from zs_env.errors import ServerError
from zs_env.serving.launch import Launch

__all__ = ["ServerProcess"]

_GUARD = Path(__file__).with_name("guard.py")
_GUARD_EXTRA_S = 15.0


class ServerProcess:
    """A running server process, with all that it starts.

    Args:
        launch: What to run.
        log: The file that its output is appended to; only its owner may read it, as servers log prompts and keys.
        grace_s: How long it may take to end by itself.

    Raises:
        ServerError: The program can't be run.
    """

    def __init__(self, launch: Launch, log: Path, grace_s: float) -> None:
        self.grace_s = grace_s
        self._is_over = False
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **launch.environment}
        parent = os.getpid()
        log.parent.mkdir(parents=True, exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(output, f"# {time.strftime('%Y-%m-%d %H:%M:%S')} {launch.shown()}\n".encode())
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(parent), str(grace_s), *launch.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # Ctrl-C in a terminal reaches this program alone, which then ends the server
                env={name: value for name, value in environment.items() if value is not None},
            )
        finally:
            os.close(output)
        assert self._guard.stdout is not None
        with self._guard.stdout as told:
            line = told.readline()
        try:
            report = json.loads(line or "{}")
        except ValueError:
            report = {}
        self.pid: int = report.get("pid", 0)
        if not self.pid:
            self._guard.wait()
            raise ServerError(
                f"The {launch.name} server can't be started: {report.get('error') or 'its guard ended at once'}.",
                log=log,
            )

    def poll(self) -> int | None:
        """The status that it ended with, negative for a signal; None while it runs."""
        status = self._guard.poll()
        if status is not None and not self._is_over:
            self._is_over = True  # once: the number may be another group's later
            self._kill_group()  # gone already, unless the guard itself was killed
        return status

    def stop(self) -> None:
        """End it and all that it started; returns when they are gone."""
        if self._guard.poll() is None:
            self._guard.terminate()
            try:
                self._guard.wait(self.grace_s + _GUARD_EXTRA_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self.poll()

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is not None:
            return
        self._kill_group()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(_GUARD_EXTRA_S)
            return
        self._guard.kill()
        self._guard.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
