"""`python -m benchmarks leaderboard`: run, compare, submit, build, check, pin, list."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.leaderboard import commands, run_flags
from benchmarks.leaderboard.metrics import SCORES
from benchmarks.leaderboard.places import FRESH, MARKDOWN, PAGE, RECORDS, shown
from benchmarks.leaderboard.suites import SUITES

__all__ = ["add_parser"]

_WHAT = """\
Evaluate agents on questions, keep records that anyone can check, and build the board from them.

  run      play questions; leaves a record: figures, settings, and every episode
  compare  two records on the same questions: differences, intervals, p
  submit   check records against their own episodes, and copy them to the board's
  build    write the board's table and page from the records
  check    tell whether table and page are what the records say
  pin      fill in what a suite of questions doesn't pin yet
  list     the suites, agents and records that there are
"""

_FIRST = """\
a first row, without a download or a server (half a minute on a laptop):

  python -m benchmarks leaderboard run --agent zerosearch --model preset:quickstart_warmstart \\
      --suite atlas --limit 200 --engine closed-book --engine template --engine bm25
  python -m benchmarks leaderboard list

each of these has --help.
"""


def add_parser(commands_: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `leaderboard` to the command line."""
    board = commands_.add_parser(
        "leaderboard",
        help="evaluate agents on pinned questions, and see where they stand",
        description=_WHAT,
        epilog=_FIRST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = board.add_subparsers(dest="action", required=True, metavar="COMMAND")
    run_flags.add_parser(actions)
    _add_compare(actions)
    _add_submit(actions)
    _add_build(actions)
    _add_pin(actions)
    _add_list(actions)


def _add_compare(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "compare",
        help="two records on the same questions",
        description="Compare two records question by question: for each set and for the average over sets, the "
        "difference, its 95 % bootstrap interval over pairs, and p (exact McNemar for exact match on a set, sign "
        "flips else). Records of other questions are refused.",
    )
    add = parser.add_argument
    add("first", metavar="A", help="a record's folder, or its name")
    add("second", metavar="B", help="another")
    add("--score", choices=SCORES, default="em", help="which score (em, strict exact match)")
    add("--records", type=Path, metavar="FOLDER", help=f"where names are looked up ({shown(FRESH)}, {shown(RECORDS)})")
    add("--json", type=Path, metavar="FILE", help="write the comparison here")
    parser.set_defaults(run=commands.compare)


def _add_submit(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "submit",
        help="check records, and copy them to the board's",
        description="Make every record's figures again from its episodes, check hashes, names and that it holds no "
        "secret, and copy it whole. If one is refused, none is copied.",
    )
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="FOLDER", help="records, or folders that hold some")
    add("--to", type=Path, default=RECORDS, metavar="FOLDER", help=f"where to ({shown(RECORDS)})")
    add("--replace", action="store_true", help="take the place of records of the same name")
    add("--check-only", action="store_true", help="check, and copy nothing")
    parser.set_defaults(run=commands.submit_records)


def _add_build(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, run, told in (
        ("build", commands.build, "write the board's table and page from the records"),
        ("check", commands.check, "tell whether table and page are what the records say"),
    ):
        parser = actions.add_parser(name, help=told, description=f"{told[0].upper()}{told[1:]}. Nothing is downloaded.")
        add = parser.add_argument
        add("--records", type=Path, default=RECORDS, metavar="FOLDER", help=f"the records ({shown(RECORDS)})")
        add("--markdown", type=Path, default=MARKDOWN, metavar="FILE", help=f"the table ({shown(MARKDOWN)})")
        add("--page", type=Path, default=PAGE, metavar="FOLDER", help=f"the page's folder ({shown(PAGE)})")
        parser.set_defaults(run=run)


def _add_pin(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "pin",
        help="fill in what a suite doesn't pin yet",
        description="Load every set of a suite whole, and write a suite file that pins its revision, size and hash. "
        "Runs on that file refuse anything else.",
    )
    add = parser.add_argument
    add("suite", metavar="SUITE", help=f"{', '.join(SUITES)}, or a .toml file")
    add("--out", type=Path, required=True, metavar="FILE", help="the suite file to write")
    parser.set_defaults(run=commands.pin)


def _add_list(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "list",
        help="the suites, agents and records that there are",
        description="The suites and agents that `run` takes, and the records that there are.",
    )
    add = parser.add_argument
    add("--records", type=Path, metavar="FOLDER", help=f"where records are ({shown(FRESH)}, {shown(RECORDS)})")
    parser.set_defaults(run=commands.list_all)
