"""The record of one measurement: what was measured, how, and what came out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

import zs_env
from agents.runs import describe_machine
from benchmarks.simulator.figures import check_bars, group_figures
from zs_env.engines.llm.engine import SimulationSettings
from zs_env.engines.llm.prompts import load_prompts
from zs_env.errors import ConfigError
from zs_env.measuring.cases import Case
from zs_env.measuring.running import Answered
from zs_env.quality import JudgedSearch
from zs_env.types import QuestionSource, SearchEngine

__all__ = ["SCHEMA", "make_record", "prompt_texts", "read_records"]

SCHEMA = "zerosearch.simulator/1"
"""The version of a record's form."""

_PLACEHOLDER = re.compile(r"{[a-z_]+}")


def prompt_texts(engine: SearchEngine) -> list[str]:
    """What a simulated engine's prompts say, in pieces between what is filled in; nothing for other engines."""
    settings = _simulation_settings(engine)
    if settings is None:
        return []
    prompts = load_prompts(settings.mode, settings.prompts, upstream=settings.compat == "upstream")
    return [piece for prompt in prompts.values() for piece in _PLACEHOLDER.split(prompt) if piece.strip()]


def _simulation_settings(engine: Any) -> SimulationSettings | None:
    for _ in range(10):  # wrappers around it
        settings = getattr(engine, "settings", None)
        if isinstance(settings, SimulationSettings):
            return settings
        engine = getattr(engine, "engine", None)
    return None


def make_record(
    *,
    name: str,
    engine: SearchEngine,
    sources: Sequence[QuestionSource],
    cases: Sequence[Case],
    answers: Sequence[Answered],
    judged: Sequence[JudgedSearch],
    settings: Mapping[str, Any],
    command: str,
    num_examples: int,
) -> dict[str, Any]:
    """Everything that tables, pages and pictures are made of, in plain JSON types.

    Args:
        name: What tables call the engine.
        engine: What was measured.
        sources: Where the questions came from.
        cases: What was asked.
        answers: What came.
        judged: What it is worth.
        settings: Of the measurement.
        command: What to run to get it again.
        num_examples: Questions whose searches are shown in the record.
    """
    figures = group_figures(cases, answers, judged)
    models = Counter((answered.result.metadata or {}).get("model") for answered in answers)
    model = models.most_common(1)[0][0] if models else None
    simulation = _simulation_settings(engine)
    return {
        "schema": SCHEMA,
        "name": name,
        "version": zs_env.__version__,
        "seed": settings["seed"],
        "engine": {
            "name": engine.name,
            "model": Path(model).name if isinstance(model, str) else None,
            "settings": None
            if simulation is None
            else {f.name: _plain(simulation, f.name) for f in fields(simulation)},
        },
        "settings": dict(settings),
        "fingerprints": {
            "engine": getattr(engine, "fingerprint", None),
            "questions": {source.name: source.fingerprint for source in sources},
        },
        "machine": describe_machine(),
        "command": command,
        "seconds": _wall_s(answers),
        "searches_per_s": _rate(answers),
        "figures": figures,
        "bars": check_bars(figures["single_hop"]) if "single_hop" in figures else [],
        "examples": [_example(search) for search in judged[: 2 * num_examples]],
    }


def _plain(settings: SimulationSettings, name: str) -> Any:
    value = getattr(settings, name)
    if name == "prompts" and isinstance(value, (str, PathLike)):
        return Path(value).name
    return dict(value) if isinstance(value, Mapping) else value


def _wall_s(answers: Sequence[Answered]) -> float:
    """The seconds that asking took, over all runs of the command."""
    last: dict[int, float] = {}
    for answered in answers:
        last[answered.session] = max(last.get(answered.session, 0.0), answered.at_s)
    return sum(last.values())


def _rate(answers: Sequence[Answered]) -> float | None:
    seconds = _wall_s(answers)
    return len(answers) / seconds if seconds > 0 else None


def _example(search: JudgedSearch) -> dict[str, Any]:
    request, result = search.request, search.result
    return {
        "question": request.question.question,
        "golden_answers": list(request.question.golden_answers),
        "query": request.query,
        "quality": request.quality,
        "documents": [document.text for document in result.documents],
        "failed": result.error is not None,
        "delivered": search.delivered,
        "holds_answer": search.holds_answer,
        "similarity": search.similarity,
        "tries": (result.metadata or {}).get("tries"),
    }


def read_records(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Records from their files, and from all files of folders.

    Raises:
        ConfigError: One can't be read, or is no such record, or one of another version; or two have the same name.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise ConfigError(
            f"There are no records in {', '.join(map(repr, map(str, paths)))}: measure first, with --json."
        )
    records = [_read_record(file) for file in files]
    again = [name for name, count in Counter(record["name"] for record in records).items() if count > 1]
    if again:
        raise ConfigError(f"Several records are called {again[0]!r}: measure again with another --name, or edit it.")
    return records


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} can't be read as a record: {error}.") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ConfigError(
            f"{str(path)!r} isn't a record of schema {SCHEMA!r}. Measure again, with --json and the name of a file."
        )
    return record
