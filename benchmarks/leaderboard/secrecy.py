"""What no record may hold, for it is published: keys and passwords, a server's address, folders of a machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

__all__ = ["find_private", "find_secrets"]

_KEYS = (
    re.compile(r"\bsk-(?=[\w-]*\d)[\w-]{16,}"),
    re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    re.compile(r"\b(?:ghp|gho|ghs|ghu|github_pat)_\w{20,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"\bAIza[\w-]{30,}"),
    re.compile(r"\bxox[abprs]-[\w-]{10,}"),
    re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}"),
    re.compile(r"(?i)\bbearer\s+(?!\*)[\w.~+/=-]{16,}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"://[^/\s:@]+:[^/\s@]+@"),
)
_SECRET_NAME = re.compile(
    r"(?i)^(?:.*[_-])?(?:api[_-]?key|secret|password|passwd|authorization|access[_-]?token|token)$"
)
_FOLDER = re.compile(
    r"(?:^|(?<=[\s'\"=:(,]))(?:/(?:home|Users|root|tmp|var|work|mnt|data|opt|srv|private|scratch)/\S+"
    r"|~/\S+|[A-Za-z]:\\\S+)"
)
_URL = re.compile(r"(?i)\b(?:https?|wss?)://[^\s'\"<>)]+")
_PUBLIC_HOSTS = frozenset(
    ("arxiv.org", "github.com", "huggingface.co", "doi.org", "aclanthology.org", "openreview.net", "pypi.org")
)
_SHOWN = 60


def find_secrets(value: Any, where: str = "record.json") -> Iterator[str]:
    """Keys, tokens and passwords, by their look and by the name that they stand under.

    Args:
        value: Plain JSON types, of any depth.
        where: What to call the place.
    """
    for path, name, text in _texts(value, where):
        if any(pattern.search(text) for pattern in _KEYS):
            yield f"{path} holds what looks like a key or a password. Take it out; and if it is one, revoke it."
        elif _SECRET_NAME.match(name) and text and not set(text) <= {"*"}:
            yield f"{path} is called like a secret, and isn't hidden. Take it out."


def find_private(value: Any, where: str = "record.json") -> Iterator[str]:
    """Folders of a machine and addresses of servers; the pages of papers and public code are none.

    Args:
        value: Plain JSON types, of any depth.
        where: What to call the place.
    """
    for path, _, text in _texts(value, where):
        if found := _FOLDER.search(text):
            yield f"{path} names a folder of a machine: {found[0]!r:.{_SHOWN}}. Give the name of the file alone."
        for url in _URL.findall(text):
            host = (urlsplit(url).hostname or "").removeprefix("www.")
            if host not in _PUBLIC_HOSTS:
                yield f"{path} names a server: {url!r:.{_SHOWN}}. Say SERVER instead."


def _texts(value: Any, path: str, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Every text, with where it stands and the name that it stands under; keys of mappings, too."""
    if isinstance(value, str):
        yield path, name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield f"{path}: a name", "", str(key)
            yield from _texts(each, f"{path}: {key}", str(key))
    elif isinstance(value, Sequence):
        for place, each in enumerate(value):
            yield from _texts(each, f"{path}[{place}]", name)
