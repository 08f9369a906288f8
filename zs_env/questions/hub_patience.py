"""How long the hub's libraries wait: as long as a person would. On their own, they may try for many minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from zs_env.errors import require
from zs_env.questions.hub_errors import HubUnreachableError

__all__ = ["INSTALL", "NEEDED_FOR", "patience"]

NEEDED_FOR = "questions from the Hugging Face hub"
INSTALL = 'pip install "datasets>=4,<6"'

_STREAMING = {
    "STREAMING_READ_MAX_RETRIES": 2,
    "STREAMING_READ_RETRY_INTERVAL": 1,
    "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL": 2,
    "STREAMING_READ_RATE_LIMIT_RETRY_INTERVAL": 20,
    "STREAMING_OPEN_MAX_RETRIES": 2,
    "STREAMING_OPEN_RETRY_INTERVAL": 1,
}
"""How often `datasets` tries again, around what huggingface_hub tries again itself."""


@contextmanager
def patience(place: Any, timeout_s: float) -> Iterator[None]:
    """Give up once the hub has been silent, or has only failed, for as long as this.

    Args:
        place: The `HubPlace` that is asked for, for messages.
        timeout_s: How long, in seconds; what the libraries set themselves is cut to it.
    """
    config = require("datasets.config", needed_for=NEEDED_FOR, install=INSTALL)
    http = require("huggingface_hub.utils._http", needed_for=NEEDED_FOR, install=INSTALL)
    before = {name: getattr(config, name) for name in _STREAMING if hasattr(config, name)}
    for name in before:
        setattr(config, name, _STREAMING[name])
    try:
        with _watched(http, _Waiting(place, timeout_s)):
            yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


@contextmanager
def _watched(http: ModuleType, waiting: _Waiting) -> Iterator[None]:
    """Let every client that huggingface_hub makes be watched; older releases, which have no such clients, aren't."""
    make: Callable[[], Any] | None = getattr(http, "_GLOBAL_CLIENT_FACTORY", None)
    if make is None or not hasattr(http, "set_client_factory"):
        yield
        return
    http.set_client_factory(lambda: waiting.watch(make()))
    try:
        yield
    finally:
        http.set_client_factory(make)


class _Waiting:
    """Since when no request has been answered."""

    def __init__(self, place: Any, timeout_s: float) -> None:
        self._place = place
        self._timeout_s = timeout_s
        self._since: float | None = None

    def watch(self, client: Any) -> Any:
        """Hook into a client of httpx."""
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks.get("request", ()), self._asked],
            "response": [*hooks.get("response", ()), self._answered],
        }
        return client

    def _asked(self, request: Any) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._since > self._timeout_s:
            raise HubUnreachableError(
                f"The hub can't be reached, or didn't answer in time: it has been silent, or has only failed, for "
                f"{self._timeout_s:g} s while {self._place} was read. Try again later, or wait longer (--timeout)."
            )
        timeouts = dict(request.extensions.get("timeout") or dict.fromkeys(("connect", "read", "write", "pool")))
        request.extensions["timeout"] = {
            name: self._timeout_s if value is None else min(value, self._timeout_s) for name, value in timeouts.items()
        }

    def _answered(self, response: Any) -> None:
        if response.status_code < 500:
            self._since = None
