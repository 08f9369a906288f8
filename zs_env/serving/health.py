"""Asking a server whether it is up, and what it serves: without a client library, and past any proxy."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request

from zs_env.serving.launch import Launch

__all__ = ["get", "served_model", "unhealthy"]

MAX_BYTES = 1_000_000

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, key: str | None, timeout_s: float) -> tuple[int, bytes]:
    """The status and the body of a reply.

    Raises:
        OSError: There was no reply.
    """
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with _direct.open(request, timeout=timeout_s) as reply:
            return int(reply.status), bytes(reply.read(MAX_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP reply: {error!r}") from error


def unhealthy(launch: Launch, timeout_s: float = 5.0) -> str:
    """Why a server isn't up; empty if it is."""
    for path in filter(None, (launch.health_path, launch.models_path)):
        try:
            status, _ = get(launch.address + path, launch.key, timeout_s)
        except OSError as error:
            return f"{path}: {getattr(error, 'reason', None) or error}"
        if status not in (200, 401, 403):  # one that wants a key that we don't know is up all the same
            return f"{path}: status {status}"
    return ""


def served_model(launch: Launch, timeout_s: float = 5.0) -> str | None:
    """The name of the first model that a server says it serves; None if it doesn't."""
    if not launch.models_path:
        return None
    try:
        _, body = get(launch.address + launch.models_path, launch.key, timeout_s)
        name = json.loads(body)["data"][0]["id"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) else None
