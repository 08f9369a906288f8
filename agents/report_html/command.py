"""`python -m agents report`: write a run's `report.html` from what lies in its folder."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `report` to the command line."""
    parser = commands.add_parser(
        "report",
        help="write a run's report.html",
        description="Write report.html into a run's folder, from what the run has left there so far: curves, before "
        "and after, sampled trajectories, settings. One file, which needs no network.",
        allow_abbrev=False,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN_FOLDER", help="the run's folder, for example runs/grpo")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the page, and tell where it is."""
    from agents.report_html.page import write_report

    print(f"The report is in {write_report(options.run_folder)}.")
