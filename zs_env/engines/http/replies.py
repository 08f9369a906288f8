"""Reads what a server replied: JSON that can be used, or an error that says what to do. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zs_env.engines.http.addresses import redact, retry_after_s
from zs_env.errors import ServiceError

__all__ = ["Wording", "read_json", "said_by"]

_RETRIED = frozenset((408, 409, 425, 429))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What errors say about a kind of server.

    Attributes:
        asking: What needs `aiohttp`, as a phrase.
        server: What `base_url` should lead to.
        reply: What the server should give.
        missing: What isn't there, if it replies 404.
        if_missing: What to check then.
        if_refused: What to check if it refuses a request.
        if_too_long: What to do if its reply is longer than is allowed.
        error: What is raised.
    """

    asking: str
    server: str
    reply: str
    missing: str
    if_missing: str
    if_refused: str
    if_too_long: str
    error: type[ServiceError] = ServiceError


def read_json(
    raw: bytes,
    status: int,
    kind: str,
    waits: str | None,
    url: str,
    *,
    key: str | None,
    key_advice: Callable[[str], str],
    wording: Wording,
    is_usable: Callable[[Any], bool],
) -> Any:
    """What a reply holds as JSON.

    Args:
        raw: The reply's body.
        status: Its HTTP status.
        kind: Its content type.
        waits: Its `Retry-After` header.
        url: The server.
        key: What mustn't stand in an error.
        key_advice: What to do if that server refuses the key.
        wording: What its errors say.
        is_usable: Whether a reply of status 200 is one, from its JSON.

    Raises:
        ServiceError: It is anything else, or says that something is wrong.
    """
    try:
        payload: Any = json.loads(raw)
    except (ValueError, RecursionError):
        payload = None
    if status == 200 and is_usable(payload):
        return payload
    said = redact(said_by(payload) or raw[:2_000].decode(errors="replace"), key)
    what = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (401, 403):
        raise wording.error(f"{url} refuses the key ({what}): {key_advice(url)}")
    if status == 404:
        raise wording.error(f"{url} has no such {wording.missing} ({what}): check {wording.if_missing}.")
    if 300 <= status < 400:
        raise wording.error(f"{url} sends its callers elsewhere ({what}): give the address that it names as base_url.")
    if status == 429 or status == 503:
        raise wording.error(
            f"{url} is too busy ({what}): lower max_connections, or add a server.",
            retried=True,
            retry_after_s=retry_after_s(waits),
        )
    if 400 <= status < 500:
        raise wording.error(
            f"{url} refuses the request ({what}): check {wording.if_refused}.",
            retried=status in _RETRIED,
            retry_after_s=retry_after_s(waits),
        )
    if status >= 500:
        raise wording.error(
            f"{url} fails ({what}): see the server's log.", retried=True, retry_after_s=retry_after_s(waits)
        )
    kind = redact(kind, key)
    raise wording.error(
        f"{url} replied with something other than {wording.reply} ({kind or 'no content type'}: {said}): does "
        f"base_url lead to {wording.server}?",
        retried=True,
    )


def said_by(payload: Any) -> str:
    """What a server says about its failure."""
    for _ in range(3):
        if isinstance(payload, dict):
            payload = next((payload[name] for name in ("error", "message", "detail") if payload.get(name)), None)
    return payload if isinstance(payload, str) else ""
