"""Paths of this machine among a search engine's options, also in tables within tables: found, and laid back in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["find_paths"]

_FILES = {"around": ("cache", "record", "replay"), "budget": ("path",), "real_budget": ("path",)}
"""Tables whose keys name files, whether or not these are there already."""


def find_paths(options: Mapping[str, Any]) -> dict[str, str]:
    """What of an engine's options lies on this machine: the option, with dots between a table and its key, to its path.

    Examples:
        >>> find_paths({"persona": "Google", "real": {"corpus": "/data/wiki.jsonl", "around": {"cache": "a.sqlite"}}})
        {'real.corpus': '/data/wiki.jsonl', 'real.around.cache': 'a.sqlite'}
    """
    return dict(_found(options, ()))


def _found(table: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        here = (*above, name)
        if isinstance(value, Mapping):
            yield from _found(value, here)
        elif isinstance(value, str) and _is_path(name, value, above, has_server="base_url" in table):
            yield ".".join(here), value


def _is_path(name: str, value: str, above: tuple[str, ...], *, has_server: bool) -> bool:
    """Whether a text leads to a file here; one without a folder may as well be something else's name."""
    if name == "prompts" or (above and name in _FILES.get(above[-1], ())):
        return True
    if name == "simulation_llm" and value.lower().endswith(".gguf") and not has_server:
        return True
    if name in ("corpus", "index") and os.path.isabs(os.path.expanduser(value)):
        return True
    return len(Path(value).parts) > 1 and os.path.exists(os.path.expanduser(value))  # for any text, however long
