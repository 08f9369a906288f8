"""Which engines a command measures: `--engine NAME[:key=value,…]`, or a file of them."""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zs_env.command_options import search_option
from zs_env.engines import make_engine
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine

__all__ = ["EngineSpec", "parse_spec", "read_specs"]

_COMMA = re.compile(r",(?=[\w-]+=)")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """An engine to measure.

    Attributes:
        name: What tables call it.
        search_mode: Its search mode.
        options: What the mode takes.
    """

    name: str
    search_mode: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> SearchEngine:
        """Make the engine."""
        return make_engine(self.search_mode, **self.options)

    def record(self) -> dict[str, Any]:
        """It in plain JSON types, without this machine's folders and addresses."""
        shown = {name: _shown(name, value) for name, value in self.options.items()}
        return {"name": self.name, "search_mode": self.search_mode, "options": shown}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shown(key, each) for key, each in value.items()}
    if name == "base_url":
        return "SERVER"
    if not isinstance(value, (str, int, float, bool, type(None))):
        return type(value).__name__
    return Path(value).name if isinstance(value, str) and "/" in value else value


def parse_spec(text: str) -> EngineSpec:
    """Read `NAME` or `NAME:key=value,…`; `label@NAME:…` gives it another name in tables.

    Examples:
        >>> parse_spec("bm25:corpus=passages.jsonl,k1=1.2")
        EngineSpec(name='bm25', search_mode='bm25', options={'corpus': 'passages.jsonl', 'k1': 1.2})
        >>> parse_spec("small@simulate_prompt:simulation_llm=smollm2").name
        'small'

    Raises:
        ConfigError: An option isn't key=value.
    """
    head, _, rest = text.partition(":")
    label, at, mode = head.rpartition("@")
    try:
        options = dict(map(search_option, _COMMA.split(rest))) if rest else {}
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--engine {text!r}: {error}.") from error
    return EngineSpec(name=label if at else mode, search_mode=mode, options=options)


def read_specs(path: Path) -> list[EngineSpec]:
    """Read engines from a TOML or JSON file: `[[engine]]` with `search_mode`, `name` if wanted, and options.

    Raises:
        ConfigError: The file can't be read, or an entry has no search mode.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} can't be read as a file of engines: {error}.") from error
    rows = found.get("engine") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{str(path)!r} has no list 'engine': write [[engine]] and search_mode = \"bm25\" under it.")
    specs = []
    for row in rows:
        options = dict(row) if isinstance(row, dict) else {}
        mode = options.pop("search_mode", None)
        if not isinstance(mode, str):
            raise ConfigError(f"An engine of {str(path)!r} has no search_mode: {row!r:.100}.")
        specs.append(EngineSpec(name=str(options.pop("name", mode)), search_mode=mode, options=options))
    return specs


def check_names(specs: Sequence[EngineSpec]) -> None:
    """Refuse two engines of one name.

    Raises:
        ConfigError: There are.
    """
    names = [spec.name for spec in specs]
    again = [name for name in names if names.count(name) > 1]
    if again:
        raise ConfigError(f"Two engines are called {again[0]!r}: name them, as in --engine other@{again[0]}:…")
