"""Flags that the commands of several packages share, and how their options are laid over each other."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["add_search_option", "lay_options", "option_at", "search_option", "with_option"]


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
        help="what else the search mode's engine takes, for example persona=Wikipedia, or real.corpus=FILE for a key "
        "of a table; may be given several times",
    )


def option_at(options: Mapping[str, Any], key: str) -> Any:
    """The value of `key`, which may have dots between a table and its key; None if there is none."""
    if key in options:  # as `lay_options` takes it
        return options[key]
    name, _, rest = key.partition(".")
    below = options.get(name)
    return option_at(below, rest) if rest and isinstance(below, Mapping) else (None if rest else below)


def with_option(options: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The same options, with another value of `key`; a table that isn't there begins empty."""
    name, _, rest = key.partition(".")
    if not rest:
        return {**options, name: value}
    below = options.get(name)
    if isinstance(below, str):  # a side may be told by its search mode alone
        below = {"search_mode": below}
    return {**options, name: with_option(below if isinstance(below, Mapping) else {}, rest, value)}


def lay_options(under: Mapping[str, Any], over: Mapping[str, Any], *, make: bool = True) -> dict[str, Any]:
    """Lay options over others: a name takes the place of the whole value, and a dotted one of a table's one key.

    Args:
        under: The options.
        over: What is laid over them.
        make: Whether a table that isn't there is made; else its dotted names stay, for the options that these are laid
            over next.

    Examples:
        >>> lay_options({"real": {"search_mode": "bm25", "corpus": "a.jsonl"}}, {"real.corpus": "b.jsonl"})
        {'real': {'search_mode': 'bm25', 'corpus': 'b.jsonl'}}
    """
    merged = dict(under)
    for key, value in over.items():
        if make or key.partition(".")[0] in merged:
            merged = with_option(merged, key, value)
        else:
            merged[key] = value
    return merged
