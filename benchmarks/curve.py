"""A finished run as a picture and a table, from its files (`python -m benchmarks curve runs/NAME --out FILE.svg`)."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.learning.picture import draw_panels
from zs_env.errors import ConfigError

__all__ = ["add_parser", "draw", "run", "table"]

_CURVES = (
    ("exact_match", "exact match in training", 1.0),
    ("searches_per_episode", "searches an episode, in thirds", 3.0),
)
"""Metric, title, and what a height of 1 is."""


def read_run(folder: Path) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """The metrics of each step of a finished run, and its summary.

    Raises:
        ConfigError: A file is missing or broken.
    """
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["metrics"] for line in lines], json.loads(
            (folder / "summary.json").read_text(encoding="utf-8")
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{str(folder)!r} is no finished run: it needs metrics.jsonl and summary.json ({error})."
        ) from error


def draw(metrics: list[dict[str, float]]) -> str:
    """The curves as SVG."""
    panels = [(title, [[step[name] / unit for step in metrics]]) for name, title, unit in _CURVES]
    return draw_panels(panels, label="Exact match and searches in training")


def table(summary: dict[str, Any]) -> str:
    """Before and after, in Markdown."""
    lines = [
        f"| greedy, {next(iter(summary['before'].values()))['n']} questions | before | after |",
        "|---|---|---|",
    ]
    for name in summary["before"]:
        before, after = summary["before"][name], summary["after"][name]
        label = name.replace("_", " ")

        def row(what: str, *cells: str) -> None:
            lines.append(f"| {what} | {' | '.join(cells)} |")

        row(f"exact match, {label}", *(_share(one["em_greedy"], one["em_greedy_ci"]) for one in (before, after)))
        for hops in before["em_greedy_by_hops"]:
            both = (one["em_greedy_by_hops"][hops] for one in (before, after))
            row(f"… of {hops} hop{'s' if hops != '1' else ''}", *(_share(one["em"], one["ci"]) for one in both))
        row(f"searches an episode, {label}", *(f"{one['searches_per_episode']:.2f}" for one in (before, after)))
    return "\n".join(lines)


def _share(value: float, interval: list[float]) -> str:
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `curve` to the command line."""
    parser = commands.add_parser("curve", help="a training run as a picture and a table")
    parser.add_argument("folder", type=Path, help="the run's folder, or one with its metrics.jsonl and summary.json")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write, as SVG")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the picture, and print the table."""
    metrics, summary = read_run(options.folder)
    options.out.write_text(draw(metrics), encoding="utf-8")
    sys.stdout.write(table(summary) + "\n")
