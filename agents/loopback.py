"""Keeping a Ray that is started on this machine on this machine. Nothing here imports ray."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from zs_env.errors import ConfigError

__all__ = ["LOOPBACK", "check_loopback", "start_on_loopback", "stay_on_loopback"]

LOOPBACK = "127.0.0.1"

_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def stay_on_loopback() -> None:
    """Let a Ray that is started here listen on loopback alone; best called before ray is imported.

    Left to itself, it listens on all interfaces, whatever address it is told. It reads the variable as it is imported;
    of one that was imported already, what it read is changed. `check_loopback` says whether that did it.
    """
    os.environ.setdefault(_VARIABLE, "0")
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None and os.environ[_VARIABLE] == "0":
        constants.ENABLE_RAY_CLUSTER = False  # type: ignore[attr-defined]


def check_loopback(ray: Any) -> None:
    """Refuse a Ray that was just started and can be reached from other machines.

    Raises:
        ConfigError: It can.
    """
    address = ray.util.get_node_ip_address()
    if address != LOOPBACK:
        raise ConfigError(
            f"Ray listens on {address} and not on {LOOPBACK} alone: {_VARIABLE}={os.environ.get(_VARIABLE)!r} was set "
            "to something else than 0. Unset it, or connect to a Ray of your own first (ray.init)."
        )


def start_on_loopback(**options: Any) -> Any:
    """Start a quiet Ray of one's own that this machine alone can reach.

    Args:
        options: What else `ray.init` takes.

    Returns:
        The package.

    Raises:
        ConfigError: See `check_loopback`; it is ended again.
    """
    stay_on_loopback()
    import ray

    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(address="local", _node_ip_address=LOOPBACK, **quiet, **options)
    try:
        check_loopback(ray)
    except ConfigError:
        ray.shutdown()
        raise
    return ray
