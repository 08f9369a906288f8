"""`python -m benchmarks scaling`: steps on one and two processes, beside what the model of docs/SCALING.md predicts."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zs_env
from agents.errors import ModelError
from agents.runs import describe_machine
from benchmarks.scaling.alone import measure_alone, measure_ray, measure_store
from benchmarks.scaling.arms import ARMS, Arm, arm_named, write_settings
from benchmarks.scaling.predict import predict
from benchmarks.scaling.runs import WARM_UP, measured_steps, medians, train
from benchmarks.scaling.tables import compare, render
from zs_env.curriculum import check_whole
from zs_env.files import write_json

__all__ = ["SCHEMA", "add_parser", "measure", "run"]

SCHEMA = "zerosearch.scaling/1"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `scaling` to the command line."""
    parser = commands.add_parser(
        "scaling",
        help="training steps on one and two processes, beside what the parts measured alone predict",
        description="Train a few steps in one process, and by Ray with one and two samplers and learners, in turn. "
        "Beside them stands what a step should take by the model of docs/SCALING.md, from a sampler, a learner and "
        "Ray's object store that were each measured alone in between.",
    )
    add = parser.add_argument
    add("--preset", default="quickstart", help="whose model and questions (quickstart)")
    add("--arms", nargs="+", metavar="NAME", help=f"which of {', '.join(arm.name for arm in ARMS)} (all)")
    add("--questions", type=int, default=24, metavar="N", help="questions of a step (24)")
    add("--group-size", type=int, default=8, metavar="N", help="episodes a question (8)")
    add("--steps", type=int, default=6, metavar="N", help=f"steps of a run that count, after {WARM_UP} that don't (6)")
    add("--repeats", type=int, default=3, metavar="N", help="rounds of everything (3)")
    add("--json", type=Path, metavar="FILE", help="write the record here")
    add("--render", type=Path, metavar="FILE", help="measure nothing, and show the tables of such a record")
    add("--store", action="store_true", help="measure Ray's object store alone, with arrays of 1 GB")
    add("--serve", nargs=2, metavar=("WHAT", "ORDER"), help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print tables, and write the record."""
    if options.serve:
        _serve(*options.serve)
        return
    if options.store:
        print(f"Into memory not used before: {', '.join(f'{speed:.2f}' for speed in measure_store())} GB/s.")
        return
    if options.render:
        print(render(json.loads(options.render.read_text(encoding="utf-8"))))
        return
    for name in ("questions", "steps", "repeats"):
        check_whole(f"--{name}", getattr(options, name), least=1)
    check_whole("--group-size", options.group_size, least=2)
    names = options.arms or [arm.name for arm in ARMS]
    arms = [ARMS[0], *(arm_named(name) for name in dict.fromkeys(names) if name != ARMS[0].name)]
    record = measure(
        arms,
        preset=options.preset,
        questions=options.questions,
        group_size=options.group_size,
        steps=options.steps,
        repeats=options.repeats,
    )
    if options.json is not None:
        write_json(options.json, record)
    print(render(record))


def measure(
    arms: Sequence[Arm], *, preset: str, questions: int, group_size: int, steps: int, repeats: int
) -> dict[str, Any]:
    """Measure arms and parts in turn.

    Args:
        arms: Which; the first is what the others are compared with.
        preset: Whose model and questions.
        questions: Of a step; half of them is measured, too.
        group_size: Episodes a question.
        steps: Of a run that count.
        repeats: Rounds, in each of which arms run in another order.

    Returns:
        The record.
    """
    load = [os.getloadavg()[0]]
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="zerosearch-scaling-") as where:
        folder = Path(where)
        settings = folder / "scaling.toml"
        write_settings(settings, preset=preset, steps=steps + WARM_UP, questions=questions, group_size=group_size)
        for number in range(repeats):
            _tell(f"round {number + 1} of {repeats}: parts alone …")
            alone = _child("alone", {"settings": str(settings), "repeats": steps})
            sizes = {name: alone[name] for name in ("weights_bytes", "trajectories_bytes")}
            ray = _child("ray", {**sizes, "repeats": 5}) if any(arm.samplers for arm in arms) else {}
            found: dict[str, Any] = {"alone": alone, "ray": ray, "steps": {}}
            for arm in (*arms[number % len(arms) :], *arms[: number % len(arms)]):
                kept = measured_steps(train(arm, settings, folder))
                found["steps"][arm.name] = kept
                _tell(f"round {number + 1} of {repeats}: {arm.name}, {medians(kept)['step_s']:.2f} s a step")
            rounds.append(found)
    load.append(os.getloadavg()[0])
    alone, ray = _over_rounds([each["alone"] for each in rounds]), _over_rounds([each["ray"] for each in rounds])
    return {
        "schema": SCHEMA,
        "version": zs_env.__version__,
        "settings": {
            "preset": preset,
            "questions": questions,
            "group_size": group_size,
            "steps": steps,
            "warm_up_steps": WARM_UP,
            "repeats": repeats,
        },
        "machine": describe_machine() | {"threads": 1},
        "load": load,
        "alone": alone,
        "ray": ray,
        "arms": [_arm_record(arm, arms[0], rounds, alone, ray) for arm in arms],
        "rounds": rounds,
    }


def _arm_record(
    arm: Arm, first: Arm, rounds: Sequence[dict[str, Any]], alone: dict[str, Any], ray: dict[str, float]
) -> dict[str, Any]:
    phases = predict(arm, alone, ray)
    steps = [
        {"step_s": medians(each["steps"][arm.name])["step_s"], "first_s": medians(each["steps"][first.name])["step_s"]}
        for each in rounds
    ]
    return {
        **asdict(arm),
        "median": medians([step for each in rounds for step in each["steps"][arm.name]]),
        "predicted": asdict(phases),
        "compared": compare(steps, phases.step(asynchronous=arm.asynchronous)),
    }


def _over_rounds(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each number, also of those in mappings."""
    return {
        name: _over_rounds([each[name] for each in found])
        if isinstance(value, dict)
        else statistics.median(each[name] for each in found)
        for name, value in found[0].items()
    }


def _child(what: str, order: dict[str, Any]) -> dict[str, Any]:
    """Measure something in a process of its own, which leaves nothing behind in this one."""
    command = [sys.executable, "-m", "benchmarks", "scaling", "--serve", what, json.dumps(order)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise ModelError(f"Measuring {what} alone failed. It said at the end:\n{done.stderr[-2000:].strip()}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _serve(what: str, order: str) -> None:
    wanted = json.loads(order)
    if what == "alone":
        found: dict[str, Any] = asdict(measure_alone(Path(wanted["settings"]), repeats=wanted["repeats"]))
    else:
        found = measure_ray(**wanted)
    print(json.dumps(found))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
