"""Flags that the commands of several packages share."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from typing import Any

__all__ = ["add_search_option", "search_option"]


def search_option(text: str) -> tuple[str, Any]:
    """Read `NAME=VALUE`: a value of TOML, or else a text.

    Examples:
        >>> search_option("max_tries=2"), search_option("persona=Wikipedia"), search_option("temperature=0.5")
        (('max_tries', 2), ('persona', 'Wikipedia'), ('temperature', 0.5))

    Raises:
        argparse.ArgumentTypeError: There is no name or no `=`.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} isn't NAME=VALUE, such as persona=Wikipedia or max_tries=2")
    try:
        parsed = tomllib.loads(f"value = {value}") if "\n" not in value else {}
    except tomllib.TOMLDecodeError:
        parsed = {}
    return name.strip().replace("-", "_"), parsed.get("value", value)


class _Collect(argparse.Action):
    """Collects names and values in a mapping."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), values[0]: values[1]})


def add_search_option(add: Callable[..., Any]) -> None:
    """Add `--search-option` by a parser's `add_argument`."""
    add(
        "--search-option",
        action=_Collect,
        type=search_option,
        metavar="NAME=VALUE",
        help="what else the search mode's engine takes, for example persona=Wikipedia; may be given several times",
    )
