"""The engines that a run plays on, and which kind each is: that is what the gap from simulated to real is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.atlas_passages import write_passages
from benchmarks.engine_specs import EngineSpec, check_names, parse_spec, read_specs
from benchmarks.leaderboard.kinds import CLOSED_BOOK, Kind, kind_of
from zs_env.engines import ScriptedEngine
from zs_env.engines.around import around
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine

__all__ = ["BoardEngine", "closed_book", "engines_of"]

_SEARCHES_A_CORPUS = ("bm25", "dense")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardEngine:
    """An engine of a run.

    Attributes:
        spec: What it is.
        kind: "mixed" is neither simulated nor real alone: a hybrid, hostile documents, a mode of somebody's own.
        tries: The most tries of a search.
        timeout_s: The most seconds of a try; None for no limit but the engine's own.
        max_in_flight: The most searches at the same time; None for no limit but the engine's own.
    """

    spec: EngineSpec
    kind: Kind
    tries: int = 1
    timeout_s: float | None = None
    max_in_flight: int | None = None

    @property
    def name(self) -> str:
        """What records call it."""
        return self.spec.name

    def make(self) -> SearchEngine:
        """Make it."""
        if self.kind == "closed-book":
            return ScriptedEngine(name=self.name)
        return around(self.spec.make, tries=self.tries, timeout_s=self.timeout_s, max_in_flight=self.max_in_flight)

    def record(self, engine: SearchEngine) -> dict[str, Any]:
        """What a record says of it.

        Args:
            engine: What `make` gave.
        """
        fingerprint = getattr(engine, "fingerprint", None)
        return {**self.spec.record(), "kind": self.kind, "fingerprint": fingerprint}


def closed_book() -> BoardEngine:
    """The engine that finds nothing."""
    return BoardEngine(spec=EngineSpec(name=CLOSED_BOOK, search_mode=CLOSED_BOOK), kind="closed-book")


def engines_of(
    texts: Sequence[str],
    *,
    files: Sequence[Path] = (),
    on_atlas: bool,
    corpus: str | None = None,
    tries: int = 1,
    timeout_s: float | None = None,
    max_in_flight: int | None = None,
) -> list[BoardEngine]:
    """Read --engine and --engines.

    Args:
        texts: Each `NAME[:key=value,…]`, or "closed-book".
        files: Files of engines.
        on_atlas: Whether the questions are the atlas': then its own facts are a corpus, and `template` can answer.
        corpus: The passages of engines that search some and name none.
        tries: Of each search.
        timeout_s: Of each try.
        max_in_flight: Of each engine.

    Raises:
        ConfigError: An engine lacks something, or two have one name.
    """
    specs = [*map(parse_spec, texts), *(spec for file in files for spec in read_specs(file))]
    if not specs:
        specs = [parse_spec("template")] if on_atlas else []
    specs = [_with_corpus(spec, on_atlas=on_atlas, corpus=corpus) for spec in specs]
    check_names(specs)
    return [
        closed_book()
        if spec.search_mode == CLOSED_BOOK
        else BoardEngine(
            spec=spec,
            kind=kind_of(spec.search_mode),
            tries=tries,
            timeout_s=timeout_s,
            max_in_flight=max_in_flight,
        )
        for spec in specs
    ]


def _with_corpus(spec: EngineSpec, *, on_atlas: bool, corpus: str | None) -> EngineSpec:
    if spec.search_mode not in _SEARCHES_A_CORPUS or {"corpus", "index"} & set(spec.options):
        return spec
    if corpus is None and not on_atlas:
        raise ConfigError(
            f"--engine {spec.name} searches passages, and there are none for these questions: give --corpus FILE, or "
            f"--engine {spec.search_mode}:corpus=FILE. Only the atlas brings its own."
        )
    return replace(spec, options={"corpus": corpus or str(write_passages("facts")), **spec.options})
