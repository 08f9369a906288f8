"""Addresses, keys and what may be said of them: pure functions of text, but for reading the environment."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from zs_env.errors import ConfigError

__all__ = ["api_key", "as_addresses", "keeps_secrets", "redact", "retry_after_s"]

MAX_SAID_CHARS = 200

_SECRETS = re.compile(r"(?i)\bbearer\s+\S+|\bsk-[\w*.\-]+|(?<=://)[^/\s@]+@|(?<=api_key=)[^&\s\"']+")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")


def as_addresses(value: Any, *, server: str, example: str) -> tuple[str, ...]:
    """Where servers are, each address once, without a slash at its end.

    Args:
        value: An address, several with commas between, or a sequence of addresses.
        server: What kind of server it must be, for errors: `"an OpenAI-compatible server"`.
        example: What an address looks like, for errors.

    Raises:
        ConfigError: There is none, or one isn't an address, or holds a key.

    Examples:
        >>> as_addresses("http://127.0.0.1:1, http://127.0.0.1:2/", server="a server", example="http://127.0.0.1:1")
        ('http://127.0.0.1:1', 'http://127.0.0.1:2')
    """
    parts: Sequence[Any] = value.split(",") if isinstance(value, str) else value if _is_sequence(value) else ()
    urls = [_as_address(part.strip() if isinstance(part, str) else part, example) for part in parts if part != ""]
    if not urls:
        raise ConfigError(
            f"base_url must be the address of {server}, such as {example}, or several of them; got "
            f"{type(value).__name__ if value else repr(value)}."
        )
    return tuple(dict.fromkeys(urls))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray))


def _as_address(url: Any, example: str) -> str:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        valid = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        if parts is not None:
            _ = parts.port  # raises if it is no number
    except ValueError:
        parts, valid = None, False
    if parts is None or not valid or re.search(r"\s", parts.geturl()):
        shown = redact(str(url), None)
        raise ConfigError(f"base_url must begin with http:// or https:// and a host, as in {example}; got {shown!r}.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"base_url of the host {parts.hostname!r} must hold no user name, password or query: put the key into an "
            "environment variable, and name that as api_key_env."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def api_key(variable: str) -> str | None:
    """The key in an environment variable; None if the name is empty or the variable isn't set.

    Raises:
        ConfigError: It holds a character that can't be sent; the message doesn't hold the key.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if not key:
        return None
    if not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"The key in the environment variable {variable} holds a character that isn't printable ASCII, so that it "
            "can't be sent: copy it again."
        )
    return key


@lru_cache(maxsize=256)
def keeps_secrets(url: str) -> bool:
    """Whether nobody on the way can read what is sent to an address: it has https, or is on this machine.

    Examples:
        >>> [keeps_secrets(f"{address}/v1") for address in ("https://example.org", "http://[::1]:8000", "http://gpu-7")]
        [True, True, False]
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def redact(text: str, key: str | None) -> str:
    r"""What may be shown of a text from elsewhere: one short line without secrets.

    Examples:
        >>> redact("Incorrect API key\nprovided: xyz-123, see https://example.org", "xyz-123")
        'Incorrect API key provided: [key], see https://example.org'
    """
    text = text[:20_000]
    if key:
        for form in sorted(_forms(key), key=len, reverse=True):
            text = text.replace(form, "[key]")
    text = _SECRETS.sub("[key]", text)
    text = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return text if len(text) <= MAX_SAID_CHARS else text[: MAX_SAID_CHARS - 1] + "…"


def _forms(key: str) -> set[str]:
    """How a key may be written."""
    return {key, quote(key, safe=""), quote(key), quote_plus(key), json.dumps(key)[1:-1]}


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """What a `Retry-After` header says, in seconds; None if it says nothing that can be read.

    Examples:
        >>> retry_after_s("3"), retry_after_s("soon")
        (3.0, None)
        >>> retry_after_s("Wed, 21 Oct 2026 07:28:05 GMT", datetime(2026, 10, 21, 7, 28, tzinfo=UTC))
        5.0
    """
    if header is None:
        return None
    try:
        seconds = float(header)
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(header)
    except (ValueError, TypeError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
