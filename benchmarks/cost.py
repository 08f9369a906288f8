"""What the searches of a training run cost: API fees against GPU-hours (`python -m benchmarks cost`).

    searches       = steps × questions a step × group size × searches an episode
    fees           = searches / 1000 × price of 1,000
    GPU-hours      = searches / searches in an hour of one GPU
    GPU cost       = GPU-hours × price of an hour
    break-even     = price of an hour / price of a search: so many searches a GPU-hour must do to cost the same

Only what searches cost is compared. The policy's own GPUs are busy in both cases; a simulator that stands idle between
rollouts costs more than this says, by `--utilization`. Prices are in a file with their sources, for everybody to
change.
"""

from __future__ import annotations

import argparse
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zs_env
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError
from zs_env.files import write_json

__all__ = ["Price", "add_parser", "break_even", "compare", "read_prices", "run", "searches_of_run"]

SCHEMA = "zerosearch.cost/1"
PRICES = Path(__file__).parent / "prices.toml"
_AMOUNTS = {"api": "price_per_1000", "gpu": "price_per_hour", "simulator": "searches_per_gpu_hour"}
_KINDS = ("published", "assumption", "measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """An entry of the price table.

    Attributes:
        name: What it is called.
        amount: Dollars for 1,000 searches (api), dollars an hour (gpu), or searches a GPU-hour (simulator).
        kind: "published", "assumption" or "measured".
        source: Who says so.
        date: When.
    """

    name: str
    amount: float
    kind: str
    source: str
    date: str


def read_prices(path: Path = PRICES) -> dict[str, list[Price]]:
    """Read a price table: lists of "api", "gpu" and "simulator".

    Raises:
        ConfigError: The file can't be read, or an entry lacks something or isn't a price.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} can't be read as a price table: {error}.") from error
    unknown = sorted(set(found) - set(_AMOUNTS))
    if unknown:
        raise ConfigError(f"{str(path)!r} has the lists {', '.join(unknown)}; known are {', '.join(_AMOUNTS)}.")
    return {kind: [_price(row, amount, path) for row in found.get(kind, [])] for kind, amount in _AMOUNTS.items()}


def _price(row: Mapping[str, Any], amount: str, path: Path) -> Price:
    value = row.get(amount)
    told = all(isinstance(row.get(name), str) and row[name] for name in ("name", "source", "date"))
    if (
        not told
        or row.get("kind") not in _KINDS
        or not _is_amount(value, least=0.0 if amount != _AMOUNTS["simulator"] else 1e-9)
    ):
        raise ConfigError(
            f"An entry of {str(path)!r} needs name, {amount} (a number), kind ({', '.join(_KINDS)}), source and date; "
            f"got {dict(row)!r:.200}."
        )
    return Price(name=row["name"], amount=float(row[amount]), kind=row["kind"], source=row["source"], date=row["date"])


def _is_amount(value: Any, *, least: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < math.inf


def searches_of_run(folder: Path) -> float:
    """The mean number of searches an episode over the training steps of a run's folder.

    Raises:
        ConfigError: The folder holds no such figures.
    """
    path = folder / "metrics.jsonl"
    try:
        rows = [json.loads(line)["metrics"] for line in path.read_text(encoding="utf-8").splitlines()]
        found = [float(row["searches_per_episode"]) for row in rows if "searches_per_episode" in row]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{str(folder)!r} is no folder of a training run: {error}.") from error
    if not found:
        raise ConfigError(f"{str(path)!r} tells of no training step: give --searches-per-episode instead.")
    return math.fsum(found) / len(found)


def simulators_of_latency(path: Path, gpus: int) -> list[Price]:
    """The most searches a GPU-hour of each engine in a record of `python -m benchmarks latency`.

    Args:
        path: The record.
        gpus: How many GPUs answered.

    Raises:
        ConfigError: It is no such record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        best: dict[str, float] = {}
        for row in record["rows"]:
            best[row["engine"]] = max(best.get(row["engine"], 0.0), float(row["searches_per_s"]["median"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{str(path)!r} is no record of python -m benchmarks latency: {error!r}.") from error
    return [
        Price(
            name=name,
            amount=3600 * rate / gpus,
            kind="measured",
            source=f"python -m benchmarks latency, on {gpus} GPU{'s' if gpus > 1 else ''}",
            date=f"version {record.get('version')}",
        )
        for name, rate in best.items()
        if rate > 0
    ]


def break_even(gpu_per_hour: float, api_per_1000: float) -> float | None:
    """The searches that a GPU must do in an hour to cost what the API does; None if the API is free.

    Examples:
        >>> break_even(2.0, 10.0)
        200.0
    """
    return gpu_per_hour * 1000 / api_per_1000 if api_per_1000 else None


def compare(searches: float, prices: Mapping[str, Sequence[Price]], *, utilization: float = 1.0) -> dict[str, Any]:
    """What so many searches cost in every way of a price table.

    Args:
        searches: How many.
        prices: What `read_prices` gives.
        utilization: The share of the paid GPU time in which searches are answered, above 0 and at most 1.

    Returns:
        `api`: a row for each API; `simulated`: a row for each simulator on each GPU; `break_even`: for each GPU and
        API, the searches that it must do in an hour.
    """
    return {
        "api": [asdict(price) | {"cost": searches / 1000 * price.amount} for price in prices["api"]],
        "simulated": [
            {
                "simulator": asdict(simulator),
                "gpu": asdict(gpu),
                "gpu_hours": (hours := searches / simulator.amount / utilization),
                "cost": hours * gpu.amount,
                "cost_per_1000": 1000 * gpu.amount / simulator.amount / utilization,
            }
            for simulator in prices["simulator"]
            for gpu in prices["gpu"]
        ],
        "break_even": [
            {
                "gpu": gpu.name,
                "api": api.name,
                "searches_per_gpu_hour": break_even(gpu.amount / utilization, api.amount),
            }
            for gpu in prices["gpu"]
            for api in prices["api"]
        ],
    }


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `cost` to the command line."""
    parser = commands.add_parser(
        "cost",
        help="what a run's searches cost: API fees against GPU-hours",
        description="Work out what the searches of a training run cost, by API and by simulator, from measured "
        "searches an episode and a table of prices that names its sources.",
    )
    add = parser.add_argument
    add("--steps", type=int, default=203, metavar="N", help="training steps (203)")
    add("--questions-per-step", type=int, default=64, metavar="N", help="questions of a step (64)")
    add("--group-size", type=int, default=5, metavar="N", help="episodes a question (5)")
    measured = parser.add_mutually_exclusive_group(required=True)
    measured.add_argument("--run", dest="run_folder", type=Path, metavar="DIR", help="a run whose searches are counted")
    measured.add_argument("--searches-per-episode", type=float, metavar="X", help="or how many an episode makes")
    add("--prices", type=Path, default=PRICES, metavar="FILE", help="the table of prices (benchmarks/prices.toml)")
    add("--latency", type=Path, metavar="FILE", help="a record of `latency`: what simulators were measured to do")
    add("--gpus", type=int, metavar="N", help="how many GPUs answered in that record")
    add("--utilization", type=float, default=1.0, metavar="U", help="share of paid GPU time that is used (1)")
    add("--json", type=Path, metavar="FILE", help="write the record here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Work it out, print the tables, write the record."""
    for name in ("steps", "questions_per_step", "group_size"):
        check_whole(f"--{name.replace('_', '-')}", getattr(options, name), least=1)
    if not 0 < options.utilization <= 1:
        raise ConfigError(f"--utilization is above 0 and at most 1; got {options.utilization!r}.")
    if (options.latency is None) != (options.gpus is None):
        raise ConfigError(
            "--latency and --gpus belong together: a rate says nothing of GPU-hours without their number."
        )
    prices = read_prices(options.prices)
    if options.latency is not None:
        prices["simulator"] += simulators_of_latency(options.latency, check_whole("--gpus", options.gpus, least=1))
    each = options.searches_per_episode
    if options.run_folder is not None:
        each = searches_of_run(options.run_folder)
    elif not _is_amount(each, least=0.0):
        raise ConfigError(f"--searches-per-episode is a number that isn't negative; got {each!r}.")
    episodes = options.steps * options.questions_per_step * options.group_size
    found = compare(episodes * each, prices, utilization=options.utilization)
    record = {
        "schema": SCHEMA,
        "version": zs_env.__version__,
        "settings": {
            "steps": options.steps,
            "questions_per_step": options.questions_per_step,
            "group_size": options.group_size,
            "searches_per_episode": each,
            "searches_per_episode_from": options.run_folder.name if options.run_folder else "flag",
            "utilization": options.utilization,
            "prices": options.prices.name,
        },
        "episodes": episodes,
        "searches": episodes * each,
        **found,
    }
    print(render(record))
    if options.json:
        write_json(options.json, record)


def render(record: Mapping[str, Any]) -> str:
    """The record as Markdown tables."""
    lines = [
        f"{record['episodes']:,} episodes × {record['settings']['searches_per_episode']:.3g} searches = "
        f"{record['searches']:,.0f} searches",
        "",
        "| who answers | GPU-hours | cost, USD | USD for 1,000 | from |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | – | {row['cost']:,.2f} | {row['amount']:.3g} | {_told(row)} |" for row in record["api"]
    ]
    lines += [
        f"| {row['simulator']['name']}; {row['gpu']['name']} | {row['gpu_hours']:,.1f} | {row['cost']:,.2f} "
        f"| {row['cost_per_1000']:.3g} | {_told(row['simulator'])}; {_told(row['gpu'])} |"
        for row in record["simulated"]
    ]
    lines += ["", "| to cost the same as | on | searches a GPU-hour |", "|---|---|---|"]
    lines += [
        f"| {row['api']} | {row['gpu']} | "
        f"{'–' if row['searches_per_gpu_hour'] is None else format(row['searches_per_gpu_hour'], ',.0f')} |"
        for row in record["break_even"]
    ]
    return "\n".join(lines)


def _told(row: Mapping[str, Any]) -> str:
    return f"{row['kind']}, {row['date']}"
