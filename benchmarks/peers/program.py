"""A library's program, while it runs: this process's side of the talk (`speaking.py` is the other)."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.installing import ROOT, PeersError

__all__ = ["Program", "module_command"]

# A proxy would stand between the clients and the server, and looking for one's settings takes requests its time.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def module_command(interpreter: Path | str, module: str) -> list[str]:
    """The command that runs one of this package's programs."""
    return [str(interpreter), "-m", f"benchmarks.peers.{module}"]


class Program:
    """The program's process, while its context lasts.

    Args:
        name: What tables call the library.
        command: What to run; it is run in the checkout, and finds `benchmarks` there.
        timeout_s: How long one answer may take before the program is ended.
    """

    def __init__(self, name: str, command: Sequence[str], *, timeout_s: float = 900.0) -> None:
        self.name = name
        self._command = list(command)
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        environment = {key: value for key, value in os.environ.items() if key.lower() not in _PROXIES}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
        self._log = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                encoding="utf-8",
            )
        except OSError as error:
            self._log.close()
            raise PeersError(f"The program of {self.name} can't be started: {error}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Ask for something, and wait for the answer.

        Raises:
            PeersError: The program failed, ended, or took too long.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()
        alarm = threading.Timer(self._timeout_s, self._end, [late])
        alarm.start()
        try:
            self._process.stdin.write(json.dumps({"do": do, **given}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            alarm.cancel()
        if not line:
            why = f"gave no answer in {self._timeout_s:g} s" if late.is_set() else "ended"
            raise PeersError(
                f"The program of {self.name} {why} when it was asked to {do}. It said last:\n{self._said()}"
            )
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise PeersError(f"The program of {self.name} answered with no JSON: {line[:200]!r}.") from error
        if not isinstance(answer, dict) or "error" in answer:
            said = answer.get("error") if isinstance(answer, dict) else line[:200]
            raise PeersError(f"The program of {self.name} failed when it was asked to {do}: {said}\n{self._said()}")
        return answer

    def _end(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def _said(self) -> str:
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").strip().splitlines()[-8:])
