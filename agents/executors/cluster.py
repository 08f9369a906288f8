"""Ray itself: started for a run on this machine alone, or joined where it runs already.

Nothing is imported from ray before `start`. A cluster of one's own listens on 127.0.0.1 and ends with the run, however
the run ends; one that was given is left as it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from agents.errors import first_line
from agents.executors.placement import Node
from agents.executors.settings import ScaleSettings
from agents.loopback import LOOPBACK, start_on_loopback, stay_on_loopback
from zs_env.errors import ConfigError, require

__all__ = ["Cluster"]

_NOT_SENT = [".git", ".venv", "runs", "site", "build", "dist", "tests", "*.egg-info", "benchmarks/results"]
"""What other machines don't need of the checkout."""


_HOW_TO_START = (
    "Start one with `ray start --head` and give the address that it prints, or leave --address out for one on this "
    "machine alone. If it asks for a token, this machine needs the same one (RAY_AUTH_MODE=token, ~/.ray/auth_token)."
)

_REACH_S = 10.0
_NAMESPACE = "zerosearch"


class Cluster:
    """A connection to Ray.

    Args:
        scale: The settings.
        say: Is told in a line what there is.

    Attributes:
        ray: The package.
        own: Whether the cluster was started here.

    Raises:
        ConfigError: There is no cluster at the address.
        MissingPackageError: Ray isn't installed.
    """

    def __init__(self, scale: ScaleSettings, *, say: Callable[[str], None]) -> None:
        if scale.address is not None:
            _show_token()
        else:
            # Before the import: else a local Ray listens on all interfaces, whatever address it is told. (A process
            # of a cluster would take itself for 127.0.0.1, where no other machine finds it.)
            stay_on_loopback()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A thread that asks for something after the end would start another cluster, with all defaults.
        os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self.ray: Any = require("ray", needed_for="executor='ray'", install='pip install "zerosearch-env[ray]"')
        self.own = scale.address is None
        # One line of ours says of a process that died what Ray says in ten.
        logging.getLogger("ray._private.worker").setLevel(logging.CRITICAL)
        self._joined = self.ray.is_initialized()  # somebody else's, such as Tune's
        if self._joined:
            self.own = False
            return
        if self.own:
            num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
            with _own_signals():
                start_on_loopback(num_cpus=max(os.cpu_count() or 1, 1), num_gpus=num_gpus, namespace=_NAMESPACE)
            return
        _check_reachable(str(scale.address))
        root = Path(__file__).parents[2]
        environment = {"working_dir": str(root), "excludes": _NOT_SENT} if (root / "pyproject.toml").is_file() else None
        try:
            with _own_signals():
                self.ray.init(
                    address=scale.address,
                    runtime_env=environment,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    namespace=_NAMESPACE,
                )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{_nobody(scale.address)}: {first_line(error)}. {_HOW_TO_START}") from error
        nodes = self.nodes()
        gpus, cpus = sum(node.gpus for node in nodes), sum(node.cpus for node in nodes)
        say(f"Ray: {len(nodes)} machines with {gpus:g} GPUs and {cpus:g} cores that are free.")

    @property
    def host(self) -> str | None:
        """Where processes listen: loopback in a cluster of one's own; None for the address of each one's machine."""
        return LOOPBACK if self.own else None

    def nodes(self) -> list[Node]:
        """What is free on each machine that is alive."""
        free = self.ray._private.state.available_resources_per_node()
        alive = [node["NodeID"] for node in self.ray.nodes() if node["Alive"]]
        found = [free.get(name, {}) for name in alive]
        return [Node(cpus=one.get("CPU", 0.0), gpus=one.get("GPU", 0.0)) for one in found]

    def is_placed(self, actor: Any) -> bool:
        """Whether a machine had room for a process that was asked for."""
        found = self.ray._private.state.actors(actor._actor_id.hex())
        # Ray says where a process is as soon as a machine has taken it.
        return not found or found["State"] != "PENDING_CREATION" or bool(found["Address"]["IPAddress"])

    def close(self) -> None:
        """End what was started here."""
        if not self._joined:
            self.ray.shutdown()


def _nobody(address: str | None) -> str:
    return f"No Ray cluster answers at address={address!r}"


def _check_reachable(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for minutes, without a word.

    Raises:
        ConfigError: Nothing listens there.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto", or something that Ray knows better
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{_nobody(address)}: {error}. {_HOW_TO_START}") from error


def _show_token() -> None:
    """Let this process show the token that lies here to a cluster that asks for one.

    `ray start` asks for it where there is one; a driver, left to itself, doesn't show it.
    """
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this program's own way to end at SIGTERM: Ray puts one in its place that ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, kept)
