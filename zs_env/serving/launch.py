"""What is to be run, and where it will answer."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Launch", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there.

    Examples:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    return host in ("localhost", "::1") or host.startswith("127.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A server's command, and its address.

    Attributes:
        name: What it is called in messages, and in the names of its logs.
        command: The program and its arguments; nothing secret stands there, since every user of a machine sees it.
        host: Where it listens.
        port: Likewise.
        environment: Variables that it gets beyond this process' own; a value of None takes one out.
        key: The key that its clients must send, if it wants one.
        health_path: What answers 200 once it is up.
        models_path: What tells the names of its models; empty if nothing does.
        install: The command that installs it, for messages.
    """

    name: str
    command: tuple[str, ...]
    host: str
    port: int
    environment: Mapping[str, str | None] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    health_path: str = "/health"
    models_path: str = "/v1/models"
    install: str = ""

    @property
    def address(self) -> str:
        """Where this machine reaches it, such as `http://127.0.0.1:6001`."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """The address as `base_url=` of an environment takes it."""
        return f"{self.address}/v1"

    def shown(self) -> str:
        """The command as it would be typed."""
        return shlex.join(self.command)
