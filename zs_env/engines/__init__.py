"""Search engines: everything that answers a search, behind one protocol (`zs_env.types.SearchEngine`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zs_env.engines.hostile import HostileEngine, hostile
from zs_env.engines.scripted import ScriptedEngine
from zs_env.engines.template import TemplateEngine
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine

if TYPE_CHECKING:
    from zs_env.engines.llm import SimulatedEngine

__all__ = ["SEARCH_MODES", "HostileEngine", "ScriptedEngine", "SimulatedEngine", "TemplateEngine", "make_engine"]


def _simulate_prompt(**options: Any) -> SearchEngine:
    from zs_env.engines.llm import simulate_prompt

    return simulate_prompt(**options)


def _simulate_sft(**options: Any) -> SearchEngine:
    from zs_env.engines.llm import simulate_sft

    return simulate_sft(**options)


def _bm25(**options: Any) -> SearchEngine:
    from zs_env.engines.retrieval import bm25

    _check_options("bm25", bm25, options)
    return bm25(**options)


def _dense(**options: Any) -> SearchEngine:
    from zs_env.engines.retrieval import dense

    _check_options("dense", dense, options)
    return dense(**options)


def _wiki(**options: Any) -> SearchEngine:
    from zs_env.engines.web import wiki

    return wiki(**options)


def _google(**options: Any) -> SearchEngine:
    from zs_env.engines.web import google

    return google(**options)


def _hybrid(**options: Any) -> SearchEngine:
    from zs_env.engines.hybrid import hybrid

    _check_options("hybrid", hybrid, options)
    return hybrid(**options)


def __getattr__(name: str) -> Any:
    # What simulates is imported by those who simulate: it is most of what this package would take to import.
    if name == "SimulatedEngine":
        from zs_env.engines.llm import SimulatedEngine

        return SimulatedEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


SEARCH_MODES: dict[str, Callable[..., SearchEngine]] = {
    "template": TemplateEngine,
    "simulate_prompt": _simulate_prompt,
    "simulate_sft": _simulate_sft,
    "bm25": _bm25,
    "dense": _dense,
    "hostile": hostile,
    "hybrid": _hybrid,
    "wiki": _wiki,
    "google": _google,
}
"""Search mode to what makes its engine. Add a maker of your own, and `make_engine` and `search_mode=` know it."""


def make_engine(search_mode: str, **options: Any) -> SearchEngine:
    """Make the engine of a search mode.

    Args:
        search_mode: A name from `SEARCH_MODES`.
        **options: What that engine takes.

    Raises:
        ConfigError: There is no such mode, or its engine doesn't take an option, or needs another. There is no default
            to fall back to: an engine that finds nothing would look like a policy that can't search.
    """
    known = ", ".join(sorted(SEARCH_MODES))
    maker = SEARCH_MODES.get(search_mode) if isinstance(search_mode, str) else None
    if maker is None:
        raise ConfigError(
            f"Unknown search mode {search_mode!r}. Available: {known}; or give an engine object as engine=."
        )
    _check_options(search_mode, maker, options)
    return maker(**options)


def _check_options(search_mode: str, maker: Callable[..., SearchEngine], options: dict[str, Any]) -> None:
    parameters = inspect.signature(maker).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [name for name in options if name not in parameters]
    if unknown and not takes_any:
        raise ConfigError(
            f"Search mode {search_mode!r} doesn't take {', '.join(map(repr, unknown))}. "
            f"It takes {', '.join(map(repr, parameters)) or 'no options'}."
        )
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty and name not in options
    ]
    if missing:
        raise ConfigError(
            f"Search mode {search_mode!r} needs {', '.join(map(repr, missing))}. Give it as "
            f"search_options={{{missing[0]!r}: …}}, or on the command line as --search-option {missing[0]}=…"
        )
