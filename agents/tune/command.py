"""`python -m agents sweep`: search through training settings, without writing Python."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run", "table"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `sweep` to the command line."""
    parser = commands.add_parser(
        "sweep",
        help="search through training settings with Ray Tune",
        description="Train many times with other settings, stop early what is behind, and tell what was best. FILE is "
        "a config file of training that may extend a preset, with the sections [sweep] and [space] beside; "
        "docs/rllib.md has one.",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the sweep's file (TOML)")
    parser.add_argument("--run-name", metavar="NAME", help="the sweep's folder in --runs (the file's name)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the folder of all runs (runs)")
    parser.add_argument("--num-samples", type=int, metavar="N", help="how often the space is drawn from")
    parser.add_argument("--resume", action="store_true", help="go on with a sweep that was stopped")
    parser.add_argument("--overwrite", action="store_true", help="replace a sweep of the same name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Sweep, and show the trials."""
    from agents.runs import write_json
    from agents.tune import read_sweep, sweep

    given = read_sweep(options.file)
    if options.num_samples is not None:
        given = replace(given, settings=replace(given.settings, num_samples=options.num_samples))
    name = options.run_name or options.file.stem
    record = sweep(given, name, root=options.runs, resume=options.resume, overwrite=options.overwrite, say=_tell)
    if options.json:
        write_json(options.json, record)
    print(table(record))
    best = record["trials"][0] if record["trials"] else None
    if best is not None and best["status"] == "finished":
        folder = options.runs / name / best["run"]
        print(f"\nThe best is in {folder}: python -m agents eval --model {folder}")


def table(record: dict[str, Any]) -> str:
    """The trials of a sweep's record, the best first."""
    metric = record["metric"]
    names = list(record["trials"][0]["settings"]) if record["trials"] else []
    after = sorted({key for trial in record["trials"] for key in trial["after"] if key.endswith("/em_greedy")})
    rows = [["trial", "status", "steps", metric, *(f"after: {key}" for key in after), *names]]
    rows += [
        [
            str(trial["run"]),
            trial["status"],
            f"{trial['steps']}/{record['total_steps']}",
            _shown(trial[metric]),
            *(_shown(trial["after"].get(key)) for key in after),
            *(_shown(trial["settings"][name]) for name in names),
        ]
        for trial in record["trials"]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    taken, whole = record["steps"]["taken"], record["steps"]["without_stopping"]
    return "\n".join([*lines, f"\n{taken} training steps were taken, of {whole} without stopping early."])


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
