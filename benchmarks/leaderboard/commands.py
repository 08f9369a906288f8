"""What the leaderboard's commands do, but for `run`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.leaderboard.agents import AGENTS
from benchmarks.leaderboard.building import build_board, check_board
from benchmarks.leaderboard.comparing import comparable, notes
from benchmarks.leaderboard.errors import RecordError
from benchmarks.leaderboard.pairs import paired_by_set
from benchmarks.leaderboard.places import FRESH, RECORDS, shown
from benchmarks.leaderboard.progress import say
from benchmarks.leaderboard.records import RECORD, Record, read_record, read_records
from benchmarks.leaderboard.submitting import check_records, submit, wrong_with
from benchmarks.leaderboard.suites import SUITES, load_suite, pin_suite, write_suite
from benchmarks.leaderboard.tables import render_comparison, render_records, table
from zs_env.files import write_json

__all__ = ["build", "check", "compare", "list_all", "pin", "submit_records"]

SCHEMA = "zerosearch.leaderboard.comparison/1"


def compare(options: argparse.Namespace) -> int:
    """Two records on the same questions."""
    first, second = (_find(text, options.records) for text in (options.first, options.second))
    reasons = comparable(first, second)
    if reasons:
        raise RecordError("These can't be compared:\n  " + "\n  ".join(reasons))
    found = paired_by_set(first.episodes(), second.episodes(), options.score)
    print(render_records([first, second]))
    print(f"\n{options.score}, A = {first.slug}\n    B = {second.slug}\n")
    print(render_comparison(found))
    told = notes(first, second)
    for note in told:
        print(f"note: {note}")
    if options.json is not None:
        record = {"schema": SCHEMA, "score": options.score, "first": first.slug, "second": second.slug, "notes": told}
        write_json(options.json, {**record, "sets": found})
    return 0


def _find(text: str, root: Path | None) -> Record:
    """The record of a folder, or of a name.

    Raises:
        RecordError: There is none.
    """
    if (Path(text) / RECORD).is_file():
        return read_record(Path(text).resolve())
    roots = _roots(root)
    found = [folder / text for folder in roots if (folder / text / RECORD).is_file()]
    if not found:
        where = ", ".join(shown(folder) for folder in roots)
        raise RecordError(
            f"{text!r} is no record's folder, nor the name of one in {where}: `python -m benchmarks leaderboard list` "
            "tells which there are."
        )
    return read_record(found[0])


def _roots(given: Path | None) -> Sequence[Path]:
    return (FRESH, RECORDS) if given is None else (given,)


def submit_records(options: argparse.Namespace) -> int:
    """Check records, and copy them to the board's."""
    if options.check_only:
        for folder in check_records(options.folders):
            print(f"{folder.name}: is what it says")
        return 0
    for folder, told in submit(options.folders, options.to, replace=options.replace):
        print(f"{folder.name}: {told}")
        record = read_record(folder)
        if not record.is_complete:
            say(f"note: {folder.name} is partial, so it is shown and not ranked: {record.content['why_partial']}")
        git = record.content.get("git")
        if git is None or git["dirty"]:
            say(f"note: {folder.name} was made by code that is no commit, so nobody else can make it again.")
    say("Build the board from them: python -m benchmarks leaderboard build")
    return 0


def build(options: argparse.Namespace) -> int:
    """Write the table and the page."""
    build_board(options.records, options.markdown, options.page)
    say(f"{len(read_records(options.records))} records: {shown(options.markdown)}, {shown(options.page)}/index.html")
    return 0


def check(options: argparse.Namespace) -> int:
    """Tell whether table and page are what the records say."""
    records = [record.folder for record in read_records(options.records)]
    wrong = [why for record in records for why in wrong_with(record)]
    wrong += check_board(options.records, options.markdown, options.page)
    for line in wrong:
        print(line)
    if wrong:
        say("error: the board isn't what its records say: python -m benchmarks leaderboard build")
        return 1
    say("The board is what its records say.")
    return 0


def pin(options: argparse.Namespace) -> int:
    """Write a suite file that pins everything."""
    suite = pin_suite(load_suite(options.suite))
    write_suite(options.out, suite)
    rows = [[one.name, one.split or "", str(one.size), one.revision or "", one.fingerprint] for one in suite.sets]
    print(table(["set", "split", "questions", "revision", "fingerprint"], rows))
    return 0


def list_all(options: argparse.Namespace) -> int:
    """Suites, agents and records."""
    suites = [load_suite(name) for name in SUITES]
    rows = [
        [suite.name, one.name, one.split or "", "?" if one.size is None else f"{one.size:,}", _pinned(one.unknown)]
        for suite in suites
        for one in suite.sets
    ]
    print(table(["suite", "set", "split", "questions", "pinned"], rows))
    told = [
        [agent.name, "yes" if agent.searches else "no", "yes" if agent.needs_model else "no", agent.source]
        for agent in AGENTS.values()
    ]
    print("\n" + table(["agent", "searches", "needs a model", "source"], told))
    for root in _roots(options.records):
        records = read_records(root)
        print(f"\n{shown(root)}: {len(records)} records")
        if records:
            print(render_records(records))
            print("\n".join(f"  {record.slug}" for record in records))
    return 0


def _pinned(unknown: Sequence[str]) -> str:
    return f"all but {', '.join(unknown)}" if unknown else "in full"
