"""What the table of simulators is made of: records, gates, short trainings, and figures that others published."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.simulator.record import SCHEMA
from zs_env.errors import ConfigError
from zs_env.tuning.gating.report import SCHEMA as GATE

__all__ = ["Sources", "read_published", "read_sources"]

TRAINING = "zerosearch.training/1"
PUBLISHED = Path(__file__).parent / "published.toml"


@dataclass(slots=True)
class Sources:
    """What was measured here.

    Attributes:
        records: Of `python -m benchmarks simulator`.
        gates: Of `python -m zs_env tune gate`.
        trainings: `summary.json` of training runs, by the name of their folder or file.
    """

    records: list[Mapping[str, Any]] = field(default_factory=list)
    gates: list[Mapping[str, Any]] = field(default_factory=list)
    trainings: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def read_sources(paths: Sequence[Path]) -> Sources:
    """Read files, and all in folders that are of a kind that is known.

    Raises:
        ConfigError: A file can't be read or is of no such kind, or there is nothing.
    """
    found = Sources()
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*.json")):
                _add(found, file, _read(file))
        elif not _add(found, path, _read(path)):
            raise ConfigError(
                f"{str(path)!r} is no record that this table takes: those are of {SCHEMA} (with figures), {GATE} and "
                f"{TRAINING}."
            )
    if not (found.records or found.gates or found.trainings):
        raise ConfigError(f"There are no records in {', '.join(repr(str(path)) for path in paths)}: measure first.")
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} can't be read as a record: {error}.") from error


def _add(found: Sources, path: Path, record: Any) -> bool:
    schema = record.get("schema") if isinstance(record, Mapping) else None
    if schema == SCHEMA and "figures" in record:
        found.records.append(record)
    elif schema == GATE:
        found.gates.append(record)
    elif schema == TRAINING:
        name = path.parent.name if path.stem == "summary" else path.stem
        if name in found.trainings:
            raise ConfigError(f"Two trainings are called {name!r}: give one of their files another name.")
        found.trainings[name] = record
    else:
        return False
    return True


def read_published(path: Path = PUBLISHED) -> list[Mapping[str, Any]]:
    """The tables that others published, each with its source.

    Raises:
        ConfigError: One says no source, or a row has more or fewer values than columns.
    """
    return [*_checked(tomllib.loads(path.read_text(encoding="utf-8")), path)]


def _checked(told: Mapping[str, Any], path: Path) -> Iterator[Mapping[str, Any]]:
    for table in told["table"]:
        if not table.get("source"):
            raise ConfigError(f"{path.name}: the table {table.get('title')!r} says no source, and so is left nowhere.")
        for row in table["row"]:
            if len(row["values"]) != len(table["columns"]):
                raise ConfigError(
                    f"{path.name}: the row {row['name']!r} has {len(row['values'])} values for "
                    f"{len(table['columns'])} columns."
                )
        yield table
