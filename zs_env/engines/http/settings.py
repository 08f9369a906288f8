"""How a server is reached: what all clients' settings share."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zs_env.curriculum import check_whole
from zs_env.engines.http.addresses import api_key, as_addresses
from zs_env.errors import ConfigError

__all__ = ["ServiceSettings", "check_number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How a server is reached.

    Attributes:
        base_url: Where the server is; several, in a sequence or with commas between, share the work, and stand in for
            each other when one fails.
        api_key_env: The environment variable that holds the key, which is then sent to every server of `base_url`.
            Left out or empty: no key is sent. The key itself is no setting: it is read when it is needed, and kept
            nowhere.
        timeout_s: The longest that one try may take.
        connect_timeout_s: The longest that connecting may take.
        deadline_s: The longest that a search may take with all the replies it asks for, their tries, the waits between
            them and for a free connection.
        max_retries: How often a failed try is made again.
        backoff_s: The wait before the second try; it doubles each time, with a random part. A server that says how
            long to wait (`Retry-After`) is heard, if that is within the deadline.
        max_backoff_s: The longest such wait, if the server doesn't say.
        max_connections: How many requests may be at the servers at the same time, from one event loop; 0 for no limit.
        max_response_bytes: The longest reply that is read.
    """

    base_url: str | Sequence[str]
    api_key_env: str | None = None
    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    deadline_s: float = 300.0
    max_retries: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 20.0
    max_connections: int = 1024
    max_response_bytes: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", self.read_urls(self.base_url))
        for name in ("timeout_s", "connect_timeout_s", "deadline_s"):
            check_number(name, getattr(self, name), above_zero=True)
        for name in ("backoff_s", "max_backoff_s"):
            check_number(name, getattr(self, name))
        for name, least in (("max_retries", 0), ("max_connections", 0), ("max_response_bytes", 1024)):
            object.__setattr__(self, name, check_whole(name, getattr(self, name), least=least))
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise ConfigError(
                f"api_key_env names the environment variable {self.api_key_env!r}, which isn't set. Set it to the key, "
                'or give api_key_env="" for a server without one.'
            )

    @staticmethod
    def read_urls(value: Any) -> tuple[str, ...]:
        """The servers' addresses from what was given as `base_url`.

        Raises:
            ConfigError: It holds none, or something else.
        """
        return as_addresses(value, server="a server", example="http://127.0.0.1:8000")

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers."""
        return tuple(self.base_url)

    def key_for(self, url: str) -> str | None:
        """The key that a server is sent, from the environment; None if there is none, or it isn't for that server.

        Raises:
            ConfigError: It can't be sent.
        """
        return api_key(self.api_key_env) if self.api_key_env else None

    def key_advice(self, url: str) -> str:
        """What to do if a server refuses the key that it was sent, or not sent."""
        if self.api_key_env:
            return f"is the one in the environment variable {self.api_key_env} right?"
        return "api_key_env names the environment variable that holds it."


def check_number(name: str, value: Any, *, above_zero: bool = False) -> None:
    """See that an option is a number of at least 0, or above.

    Raises:
        ConfigError: It isn't.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} must be a finite number that isn't negative; got {value!r}.")
    if above_zero and not value:
        raise ConfigError(f"{name} must be above 0; got {value!r}.")
