"""A policy that is a function in a file, runs of the command, and what of their records must be equal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.__main__ import main
from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.records import Record, read_records

POLICY = '''
import os, time

def act(observation):
    """Search for the question, then answer what the first document says last."""
    if os.environ.get("CALLS"):
        with open(os.environ["CALLS"], "a") as file:
            file.write("call\\n")
            place = file.tell() // 5
        if place == int(os.environ.get("SLOW_AT", 0)):
            time.sleep(float(os.environ["SLOW_S"]))
        if place == int(os.environ.get("SIGNAL_AT", 0)):
            time.sleep(0.5)  # what has ended is kept meanwhile
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
            time.sleep(0.5)
    time.sleep(float(os.environ.get("PAUSE_S", "0")))
    parts = observation.split("\\n<information>\\n")
    if len(parts) < 2:
        return f"<search>{observation.rpartition('Question: ')[2].strip()}</search>"
    return f"<answer>{parts[-1].splitlines()[0].strip().rstrip('.').split(' ')[-1]}</answer>"
'''


def write_policy(folder: Path) -> str:
    """The policy's file, as --callable takes it."""
    path = folder / "searcher.py"
    path.write_text(POLICY)
    return f"{path}:act"


def run(out: Path, *flags: object) -> int:
    """`leaderboard run` with ten questions of the atlas, unless the flags say otherwise."""
    return main(["leaderboard", "run", "--out", str(out), *map(str, flags)])


def record_in(folder: Path) -> Record:
    """The one record of a folder."""
    (found,) = read_records(folder)
    return found


def timeless(episodes: list[PlayedEpisode]) -> list[PlayedEpisode]:
    """Episodes without what may differ between equal runs."""
    return [
        replace(
            each,
            seconds=0.0,
            search_seconds=0.0,
            searches=tuple(replace(search, latency_s=0.0) for search in each.searches),
        )
        for each in episodes
    ]


def rewrite(folder: Path, **changes: Any) -> None:
    """Change what a record says."""
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2) + "\n")
