"""The record of one measurement: what was measured, how, and what came out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zs_env
from agents.runs import describe_machine
from benchmarks.simulator.figures import check_bars
from zs_env.errors import ConfigError
from zs_env.measuring.cases import Case
from zs_env.measuring.describing import plain_settings
from zs_env.measuring.figures import group_figures
from zs_env.measuring.running import Answered
from zs_env.quality import JudgedSearch
from zs_env.types import QuestionSource, SearchEngine

__all__ = ["SCHEMA", "make_record", "read_records"]

SCHEMA = "zerosearch.simulator/1"
"""The version of a record's form."""


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
    facts: Mapping[str, Any] | None = None,
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
        facts: What `engine_facts` says of a simulator's model. Records of before have no such entry.
    """
    figures = group_figures(cases, answers, judged)
    models = Counter((answered.result.metadata or {}).get("model") for answered in answers)
    model = models.most_common(1)[0][0] if models else None
    return {
        "schema": SCHEMA,
        "name": name,
        "version": zs_env.__version__,
        "seed": settings["seed"],
        "engine": {
            "name": engine.name,
            "model": Path(model).name if isinstance(model, str) else None,
            "settings": plain_settings(engine),
            **({} if facts is None else {"simulator": dict(facts)}),
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
    if not isinstance(record, dict) or record.get("schema") != SCHEMA or "figures" not in record:
        raise ConfigError(
            f"{str(path)!r} isn't a record of schema {SCHEMA!r}. Measure again, with --json and the name of a file."
        )
    return record
