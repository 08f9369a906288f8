"""A simulator server from its start to its end: waited for, watched, started again when it crashes."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from zs_env.engines.llm.endpoints import redact
from zs_env.errors import ConfigError, ServerError
from zs_env.serving.checks import check_port
from zs_env.serving.diagnosis import first_error, how_it_ended, likely_cause, read_lines
from zs_env.serving.health import served_model, unhealthy
from zs_env.serving.launch import Launch
from zs_env.serving.process import ServerProcess

__all__ = ["Server", "WatchSettings"]

State = Literal["new", "starting", "healthy", "restarting", "failed", "stopped"]

_logger = logging.getLogger(__name__)

_POLL_S = 0.1
_READ_LINES = 300
_SHOWN_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """How a server is waited for and watched.

    Attributes:
        log_dir: The folder of the logs, one file a start.
        start_timeout_s: How long a start may take, the download and loading of a model included.
        grace_s: How long it may take to end by itself before it is killed.
        max_restarts: How often in a row it is started again after a crash.
        backoff_s: The wait before the first restart; it doubles each time.
        max_backoff_s: The longest such wait.
        steady_s: After so long in health, earlier crashes are forgotten.
        progress_s: The time between lines of progress.
    """

    log_dir: str | os.PathLike[str] = "runs/servers"
    start_timeout_s: float = 1800.0
    grace_s: float = 10.0
    max_restarts: int = 3
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    steady_s: float = 300.0
    progress_s: float = 5.0

    def __post_init__(self) -> None:
        for name in ("start_timeout_s", "grace_s", "backoff_s", "max_backoff_s", "steady_s", "progress_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise ConfigError(f"{name} must be a number of seconds, 0 or more; got {value!r}.")
        if isinstance(self.max_restarts, bool) or not isinstance(self.max_restarts, int) or self.max_restarts < 0:
            raise ConfigError(f"max_restarts must be a whole number, 0 or more; got {self.max_restarts!r}.")


class Server:
    """A server that runs for as long as this object is entered, or from `start` to `stop`.

    It never outlives this program, however that ends. Its methods may be called from any thread; `async with` doesn't
    hold up an event loop.

    Args:
        launch: What to run.
        watch: How it is waited for and watched.
        say: Gets a line for whatever happens: progress, a crash, a restart. Left out, the log of this module gets it.
        on_health: Is called each time that the server is up, after restarts too; from the watching thread then.

    Attributes:
        state: Where it is: new, starting, healthy, restarting (after a crash), failed (too many crashes), stopped.
        model: The name of the model that it serves, once it is up, if it says so.
        log: The log of the present, or the last, start.
        num_restarts: How often it was started again, in all.
        start_s: How long its last start took, in seconds.
    """

    def __init__(
        self,
        launch: Launch,
        watch: WatchSettings | None = None,
        *,
        say: Callable[[str], None] | None = None,
        on_health: Callable[[Server], None] | None = None,
    ) -> None:
        self.launch = launch
        self.watch = WatchSettings() if watch is None else watch
        self.state: State = "new"
        self.model: str | None = None
        self.log: Path | None = None
        self.num_restarts = 0
        self.start_s = 0.0
        self._say = _logger.info if say is None else say
        self._on_health = on_health
        self._process: ServerProcess | None = None
        self._owner = os.getpid()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._error: ServerError | None = None
        self._num_starts = 0
        self._stamp = ""

    @property
    def base_url(self) -> str:
        """The address, as `base_url=` of an environment takes it."""
        return self.launch.base_url

    @property
    def pid(self) -> int:
        """The server's process id; 0 if none runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def start(self) -> Self:
        """Start the server, and wait until it is up.

        Raises:
            ServerError: The port is in use, or the server ended or wasn't up in time; the message says why.
        """
        if self.state != "new":
            raise ServerError(f"This server is {self.state} already: make another one with serve(...).")
        self._stamp = time.strftime("%Y%m%d-%H%M%S")
        atexit.register(self.stop)
        try:
            self._begin("starting")
        except BaseException:
            self.stop()
            raise
        self._watcher = threading.Thread(target=self._keep_up, name=f"zs-serve-{self.launch.name}", daemon=True)
        self._watcher.start()
        return self

    def stop(self) -> None:
        """End the server and all that it started; returns when they are gone. May be called again."""
        if self._owner != os.getpid():  # a fork of the program that it belongs to
            return
        self._stopping.set()
        with self._lock:
            if self._process is not None:
                self._process.stop()
        watcher = self._watcher
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join()
        if self.state != "failed":
            self.state = "stopped"
        self._ended.set()
        atexit.unregister(self.stop)

    def kill(self) -> None:
        """End the server at once, without asking it to; `stop` is still to be called."""
        self._stopping.set()
        process = self._process
        if process is not None and self._owner == os.getpid():
            process.kill()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the server was stopped; returns whether it was.

        Args:
            timeout_s: How long at most.

        Raises:
            ServerError: It crashed too often.
        """
        ended = self._ended.wait(timeout_s)
        if self._error is not None:
            raise self._error
        return ended

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        try:
            return await asyncio.to_thread(self.start)
        except asyncio.CancelledError:
            await asyncio.to_thread(self.stop)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _begin(self, state: State) -> None:
        """Start a process, and wait until it is up."""
        began = time.monotonic()
        check_port(self.launch.host, self.launch.port)  # or whoever has it now would be taken for our server
        self._num_starts += 1
        name = f"{self._stamp}-{self.launch.name}-{self.launch.port}-{self._num_starts:03}.log"
        log = self.log = Path(self.watch.log_dir) / name
        with self._lock:
            if self._stopping.is_set():
                raise ServerError(f"The {self.launch.name} server was stopped while it started.", log=log)
            self.state = state
            self._process = ServerProcess(self.launch, log, self.watch.grace_s)
        process = self._process
        try:
            self._say(f"{self.launch.name}: starting on {self.launch.address}, log in {log}")
            self._wait_for_health(process, began, log)
            self.model = served_model(self.launch)
            self.start_s = time.monotonic() - began
            self.state = "healthy"
            of_model = f" with the model {self.model!r}" if self.model else ""
            self._say(f"{self.launch.name}: up after {self.start_s:.1f} s at {self.base_url}{of_model}")
            if self._on_health is not None:
                self._on_health(self)
        except BaseException:
            process.stop()
            raise

    def _wait_for_health(self, process: ServerProcess, began: float, log: Path) -> None:
        said = began
        while True:
            status = process.poll()
            if status is not None:
                raise self._failure(f"{how_it_ended(status)} before it was up", log, status)
            why = unhealthy(self.launch)
            if not why and process.poll() is None:
                return
            now = time.monotonic()
            if now - began > self.watch.start_timeout_s:
                raise self._failure(
                    f"wasn't up after {self.watch.start_timeout_s:g} s ({why}); raise --start-timeout-s if it was "
                    "still loading",
                    log,
                )
            if now - said >= self.watch.progress_s:
                said = now
                line = redact("".join(read_lines(log)[1:][-1:]), self.launch.key)  # the first line is the command
                self._say(f"{self.launch.name}: {now - began:.0f} s, not up yet: {line or why}")
            if self._stopping.wait(_POLL_S):
                raise ServerError(f"The {self.launch.name} server was stopped while it started.", log=log)

    def _failure(self, what: str, log: Path, status: int | None = None) -> ServerError:
        lines = read_lines(log)[1:][-_READ_LINES:]
        cause, error = likely_cause(lines, status), redact(first_error(lines), self.launch.key)
        told = [f"The {self.launch.name} server {what}."]
        told += [f"  Likely cause: {cause}"] if cause else []
        told += [f"  First error in its log: {error}"] if error else []
        told += [f"  Log: {log}{', which ends:' if lines else ''}"]
        told += [f"    {redact(line, self.launch.key)}" for line in lines[-_SHOWN_LINES:]]
        return ServerError("\n".join(told), log=log)

    def _keep_up(self) -> None:
        """Watch the process; start it again when it ends by itself."""
        crashes = 0
        while True:
            process, log = self._process, self.log
            assert process is not None
            assert log is not None
            since = time.monotonic()
            while (status := process.poll()) is None:
                if self._stopping.wait(_POLL_S):
                    return
            if self._stopping.is_set():
                return
            if time.monotonic() - since >= self.watch.steady_s:
                crashes = 0
            failure = self._failure(how_it_ended(status), log, status)
            while True:
                crashes += 1
                if crashes > self.watch.max_restarts:
                    self._give_up(failure, crashes)
                    return
                pause_s = min(self.watch.max_backoff_s, self.watch.backoff_s * 2 ** (crashes - 1))
                self.state = "restarting"
                self._say(
                    f"{failure}\n{self.launch.name}: restart {crashes} of {self.watch.max_restarts} in {pause_s:g} s"
                )
                if self._stopping.wait(pause_s):
                    return
                self.num_restarts += 1
                try:
                    self._begin("restarting")
                    break
                except ServerError as error:
                    if self._stopping.is_set():
                        return
                    failure = error
                except Exception as error:
                    failure = ServerError(f"{self.launch.name}: the restart failed: {error!r}", log=log)

    def _give_up(self, failure: ServerError, crashes: int) -> None:
        self._error = ServerError(
            f"{failure}\n{self.launch.name}: given up after {crashes} crashes in a row (max_restarts is "
            f"{self.watch.max_restarts}).",
            log=failure.log,
        )
        self.state = "failed"
        self._say(str(self._error))
        self._ended.set()
