"""`python -m benchmarks learning`: run the study, go on with a stopped one, render its page."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from agents.errors import ModelError
from benchmarks.learning.arms import ARMS, Arm, arm_named
from benchmarks.learning.page import render, write_page
from benchmarks.learning.runs import SCHEMA, record_path, run_arm, study_settings
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

__all__ = ["add_parser", "read_records", "run"]

RECORDS = Path(__file__).parents[1] / "results" / "learning"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `learning` to the command line."""
    parser = commands.add_parser(
        "learning",
        help="train the quickstart by each algorithm, with and without its parts, and compare",
        description="Train the quickstart's policy in every arm and seed of the study, each in a process of its own on "
        "one thread, and keep a record of each. Runs whose record is there already are not done again, so a study that "
        "was stopped goes on. The whole takes about two hours on two cores.",
    )
    add = parser.add_argument
    add("--out", type=Path, default=RECORDS, metavar="DIR", help="where records are (benchmarks/results/learning)")
    add("--arms", nargs="+", metavar="NAME", help=f"which arms (all: {', '.join(arm.name for arm in ARMS)})")
    add("--seeds", type=int, metavar="N", help="at most so many seeds an arm (5 for algorithms, 3 for others)")
    add("--jobs", type=int, default=1, metavar="N", help="runs side by side, each on one thread (1)")
    add("--eval-limit", type=int, default=500, metavar="N", help="test questions that are measured on (500)")
    add("--total-steps", type=int, metavar="N", help="for a trial: so many training steps")
    add(
        "--page",
        type=Path,
        metavar="FILE",
        help="write tables to this Markdown file, and curves beside it",
    )
    add("--render-only", action="store_true", help="run nothing: tables of the records that are there")
    add("--one", metavar="ARM:SEED", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run what is missing, then show tables."""
    for name in ("jobs", "eval_limit", "seeds", "total_steps"):
        if getattr(options, name) is not None:
            check_whole(f"--{name.replace('_', '-')}", getattr(options, name), least=1)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.one:
        name, _, seed = options.one.partition(":")
        run_arm(
            arm_named(name),
            int(seed),
            options.out,
            eval_limit=options.eval_limit,
            total_steps=options.total_steps,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        return
    arms = [arm_named(name) for name in options.arms] if options.arms else list(ARMS)
    if not options.render_only:
        wanted = [(arm, seed) for arm in arms for seed in range(min(arm.num_seeds, options.seeds or arm.num_seeds))]
        # Supervised training is given the time of GRPO's run.
        wanted.sort(key=lambda pair: pair[0].change == "supervised")
        _run_all([pair for pair in wanted if not _is_done(*pair, options)], options)
    records = read_records(options.out)
    if not records:
        raise ConfigError(f"There are no records in {str(options.out)!r} to show: run the study first.")
    if options.page:
        write_page(records, options.page)
    print(render(records))


def read_records(folder: Path) -> list[dict[str, object]]:
    """Every record in a folder.

    Raises:
        ConfigError: One of them is broken or of another version.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is no JSON: {error}. Remove it and run the study again.") from error
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise ConfigError(f"{path} isn't a record of schema {SCHEMA!r}. Remove it and run the study again.")
        records.append(record)
    return records


def _is_done(arm: Arm, seed: int, options: argparse.Namespace) -> bool:
    path = record_path(options.out, arm, seed)
    if not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))["settings"]
    wanted = study_settings(arm, arm.config(seed, total_steps=options.total_steps), options.eval_limit)
    if found != json.loads(json.dumps(wanted)):
        raise ConfigError(
            f"{path} is of other settings than this study's. Remove it to run it again, or name another folder with "
            "--out."
        )
    return True


def _run_all(wanted: Sequence[tuple[Arm, int]], options: argparse.Namespace) -> None:
    """Every run in a process of its own, some side by side.

    Raises:
        ModelError: One of them failed; what it said stands above.
    """
    waiting, running = list(wanted), dict[subprocess.Popen[bytes], tuple[Arm, int]]()
    began, num_done = time.perf_counter(), 0
    try:
        while waiting or running:
            while len(running) < options.jobs and (ready := _ready(waiting, list(running.values()))):
                arm, seed = ready
                waiting.remove(ready)
                command = [sys.executable, "-m", "benchmarks", "learning", "--one", f"{arm.name}:{seed}"]
                command += ["--out", str(options.out), "--eval-limit", str(options.eval_limit)]
                if options.total_steps:
                    command += ["--total-steps", str(options.total_steps)]
                running[subprocess.Popen(command)] = ready
            time.sleep(0.5)
            for process in [process for process in running if process.poll() is not None]:
                arm, seed = running.pop(process)
                name = f"{arm.name} seed {seed}"
                if process.returncode:
                    raise ModelError(f"The run {name} ended with status {process.returncode}; what it said is above.")
                num_done += 1
                minutes = (time.perf_counter() - began) / 60
                print(f"{name} is done: {num_done} of {len(wanted)}, {minutes:.0f} min", file=sys.stderr, flush=True)
    finally:
        for process in running:
            process.terminate()


def _ready(waiting: Sequence[tuple[Arm, int]], running: Sequence[tuple[Arm, int]]) -> tuple[Arm, int] | None:
    """The first run that may start: supervised training waits for the run of GRPO whose time it is given."""
    unfinished = {(arm.name, seed) for arm, seed in (*waiting, *running)}
    return next(
        ((arm, seed) for arm, seed in waiting if arm.change != "supervised" or ("grpo", seed) not in unfinished), None
    )
