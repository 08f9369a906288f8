"""What a simulated engine is made of: its settings, and what its prompts say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zs_env.types import SearchEngine

if TYPE_CHECKING:
    from zs_env.engines.llm.engine import SimulationSettings

__all__ = ["plain_settings", "prompt_texts", "simulation_settings"]

_PLACEHOLDER = re.compile(r"{[a-z_]+}")


def simulation_settings(engine: Any) -> SimulationSettings | None:
    """How a simulated engine plays, also one with others around it; None for other engines."""
    from zs_env.engines.llm.engine import SimulationSettings

    for _ in range(10):  # wrappers around it
        settings = getattr(engine, "settings", None)
        if isinstance(settings, SimulationSettings):
            return settings
        engine = getattr(engine, "engine", None)
    return None


def prompt_texts(engine: SearchEngine) -> list[str]:
    """What a simulated engine's prompts say, in pieces between what is filled in; nothing for other engines."""
    from zs_env.engines.llm.prompts import load_prompts

    settings = simulation_settings(engine)
    if settings is None:
        return []
    prompts = load_prompts(settings.mode, settings.prompts, upstream=settings.compat == "upstream")
    return [piece for prompt in prompts.values() for piece in _PLACEHOLDER.split(prompt) if piece.strip()]


def plain_settings(engine: SearchEngine) -> dict[str, Any] | None:
    """A simulated engine's settings in plain JSON types, without paths; None for other engines."""
    settings = simulation_settings(engine)
    return None if settings is None else {item.name: _plain(settings, item.name) for item in fields(settings)}


def _plain(settings: SimulationSettings, name: str) -> Any:
    value = getattr(settings, name)
    if name == "prompts" and isinstance(value, (str, PathLike)):
        return Path(value).name
    return dict(value) if isinstance(value, Mapping) else value
