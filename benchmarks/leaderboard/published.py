"""Rows that others published, with their source: they stand beside the board's own and are never ranked with them.

They were measured by other people, on other samples of questions, with other engines, and partly with another exact
match. So they tell where the field is, not where a row of this board stands. `published.toml` holds the figures as they
stand in print; the loader makes shares of them and checks that each average is the mean of its seven values, which a
slip in copying seldom survives.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError

__all__ = ["PUBLISHED", "PublishedRow", "load_published"]

PUBLISHED = Path(__file__).parent / "published.toml"
"""The figures that the project ships."""

_TABLE = ("title", "source", "url", "metric", "unit", "decimals", "engine", "columns", "row")
_ROW = {"method", "model", "engine", "train_engine", "values", "mean", "note"}
_UNITS = {"percent": Decimal(100), "fraction": Decimal(1)}
_AVERAGE = "average"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A row of somebody's table.

    Attributes:
        table: What the table is called here.
        method: What was done, such as "RAG" or "Search-R1".
        model: The model that did it.
        train_engine: What answered its searches in training; None if it wasn't trained, or nobody says.
        engine: What answered its searches when it was measured; "none" for methods that don't search.
        sets: By set, named as the suites name them, the figure as a share in [0, 1].
        average: The mean of these as it was printed, a share in [0, 1].
        metric: What was measured, in the source's words.
        decimals: So many decimals the source prints of a share.
        source: Who says so, and where: authors, title, place, table.
        url: Where to read it.
        about: What to know of the whole table before comparing, the same in each of its rows.
        note: What to know of this row; "" if nothing.
    """

    table: str
    method: str
    model: str
    train_engine: str | None
    engine: str
    sets: Mapping[str, float]
    average: float
    metric: str
    decimals: int
    source: str
    url: str
    about: str
    note: str


def load_published(path: Path = PUBLISHED) -> list[PublishedRow]:
    """The rows that others published, in the order of their tables.

    Raises:
        ConfigError: The file can't be read, a table says no source, or a row's figures don't fit each other.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise ConfigError(f"Published rows can't be read from {path.name}: {error}.") from error
    return [row for table in told.get("table", []) for row in _rows(table, path.name)]


def _rows(table: Mapping[str, Any], file: str) -> Iterator[PublishedRow]:
    where = f"{file}, table {table.get('title')!r}"
    missing = [name for name in _TABLE if not table.get(name)]
    if missing:
        raise ConfigError(f"{where}: it lacks {', '.join(missing)}; figures without these stand nowhere on the board.")
    if table["unit"] not in _UNITS:
        raise ConfigError(f"{where}: unit must be one of {', '.join(_UNITS)}; got {table['unit']!r}.")
    columns = table["columns"]
    if columns[-1] != _AVERAGE or len(set(columns)) != len(columns) or len(columns) < 2:
        raise ConfigError(f"{where}: columns must be different sets and then {_AVERAGE!r}; got {columns!r}.")
    seen = set()
    for told in table["row"]:
        row = _row(told, table, where)
        if (row.method, row.model) in seen:
            raise ConfigError(f"{where}: {row.method!r} of {row.model!r} stands there twice; take one out.")
        seen.add((row.method, row.model))
        yield row


def _row(told: Mapping[str, Any], table: Mapping[str, Any], where: str) -> PublishedRow:
    where = f"{where}, {told.get('method')!r} of {told.get('model')!r}"
    if not {"method", "model", "values"} <= set(told) <= _ROW:
        raise ConfigError(f"{where}: a row has method, model and values, and of {sorted(_ROW)} what it needs.")
    unit, columns = _UNITS[table["unit"]], table["columns"]
    values = [Decimal(value) for value in told["values"]]
    if len(values) != len(columns) or not all(0 <= value <= unit for value in values):
        raise ConfigError(f"{where}: it must have {len(columns)} values from 0 to {unit}; got {told['values']}.")
    last = Decimal(1).scaleb(-table["decimals"])
    finer = [str(value) for value in values if value != value.quantize(last)]
    if finer:
        raise ConfigError(f"{where}: {', '.join(finer)} has more than the table's {table['decimals']} decimals.")
    mean = sum(values[:-1], Decimal(0)) / (len(values) - 1)
    off = _check_mean(told, mean, values[-1], last, where)
    return PublishedRow(
        table=table["title"],
        method=told["method"],
        model=told["model"],
        train_engine=told.get("train_engine"),
        engine=told.get("engine", table["engine"]),
        sets={name: float(value / unit) for name, value in zip(columns[:-1], values[:-1], strict=True)},
        average=float(values[-1] / unit),
        metric=table["metric"],
        decimals=table["decimals"] + (2 if unit == 100 else 0),
        source=table["source"],
        url=table["url"],
        about=" ".join(table.get("note", "").split()),
        note=" ".join(f"{told.get('note', '')} {off}".split()),
    )


def _check_mean(told: Mapping[str, Any], mean: Decimal, average: Decimal, last: Decimal, where: str) -> str:
    """What to say of an average that its source got wrong; "" of others.

    Values are rounded themselves, so that a right average may be off by up to one unit of the last place.
    """
    if abs(mean - average) <= last:
        if "mean" in told:
            raise ConfigError(f"{where}: its average {average} is the mean of its values; leave `mean` out.")
        return ""
    if "mean" not in told or abs(mean - told["mean"]) > last:
        raise ConfigError(
            f"{where}: the average {average} is not the mean of its values, {mean.quantize(last)}. Copy it "
            f"again; if the source itself says so, add `mean = {mean.quantize(last)}` to the row."
        )
    return f"The source prints {average} as the average of values whose mean is {told['mean']}."
