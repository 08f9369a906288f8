"""Addresses of chat servers, and what may be said of them and their keys."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from zs_env.engines.http.addresses import api_key, as_addresses, keeps_secrets, redact, retry_after_s

__all__ = ["api_key", "as_base_urls", "keeps_secrets", "redact", "retry_after_s"]

_VERSION = re.compile(r"v\d\w*")
_ENDPOINT = re.compile(r"/(?:chat/completions|completions|models)$")


def as_base_urls(value: Any) -> tuple[str, ...]:
    """Where chat servers are, each address once and ending in its version.

    Args:
        value: An address, several with commas between, or a sequence of addresses.

    Raises:
        ConfigError: There is none, or one isn't an address, or holds a key.

    Examples:
        >>> as_base_urls("http://127.0.0.1:6001, http://127.0.0.1:6002/v1/")
        ('http://127.0.0.1:6001/v1', 'http://127.0.0.1:6002/v1')
        >>> as_base_urls(["https://example.org/api/v1beta/openai"])
        ('https://example.org/api/v1beta/openai',)
    """
    urls = as_addresses(value, server="an OpenAI-compatible server", example="http://127.0.0.1:6001/v1")
    return tuple(dict.fromkeys(map(_with_version, urls)))


def _with_version(url: str) -> str:
    url = _ENDPOINT.sub("", url).rstrip("/")
    return url if any(map(_VERSION.fullmatch, urlsplit(url).path.split("/"))) else f"{url}/v1"
