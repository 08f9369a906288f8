"""`python -m zs_env tune domain simulator | environment`: the last two steps of a domain."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.command_options import search_option
from zs_env.errors import ConfigError
from zs_env.questions import load_questions
from zs_env.tuning.domain.environment import BM25, SIMULATED, EnvironmentSettings, write_environment
from zs_env.tuning.domain.questions import QUESTIONS
from zs_env.tuning.domain.simulator import LEDGER, STEP_NAMES, SimulatorSettings, plan_steps, run_steps

__all__ = ["add_parsers", "environment", "simulator"]


def add_parsers(steps: Any) -> None:
    """Add both commands to a parser's sub-commands."""
    parser = steps.add_parser(
        "simulator",
        help="collect, label, build, train, quantise and gate a simulator of the domain",
        description="Run the commands that make a simulator, one after another, over the domain's questions and "
        "passages. What is done is passed over; a command that fails ends it, and the same line goes on with that.",
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="the domain's folder")
    add("--persona", required=True, help="which search engine it is: the domain, as 'Acme handbook'")
    add("--base-model", required=True, metavar="MODEL", help="what is tuned: a folder, a .gguf file, smollm2")
    add("--quantise", default="gguf:q8_0", metavar="KIND", help="what it is served as, or none (gguf:q8_0)")
    add("--gate-split", default="test", metavar="SPLIT", help="the split that the gate judges by (test)")
    add(
        "--with",
        dest="more",
        nargs=2,
        action="append",
        default=[],
        metavar=("STEP", "FLAGS"),
        help=f"further flags of {', '.join(STEP_NAMES)}, as --with train '--minutes 30 --lora-rank 8'",
    )
    add("--again", action="store_true", help="do again what was done with other flags, or on files that changed")
    add("--dry-run", action="store_true", help="print the commands, and run none")
    parser.set_defaults(run=simulator)
    parser = steps.add_parser(
        "environment",
        help="write the options of an environment over the domain's simulator",
        description=f"Write DIR/{SIMULATED} and DIR/{BM25}: plain options of gym.make, with the simulator to train in, "
        "and with a real search of the passages to measure in.",
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="the domain's folder")
    add(
        "--simulation-llm",
        metavar="MODEL",
        help="prompt this model instead; with --base-url the tuned one's name there",
    )
    add("--base-url", metavar="URL", help="the simulator's server (it runs in this process)")
    add("--persona", help="which search engine it is (what the tuned simulator learned)")
    add("--split", default="train", help="the split that is played (train)")
    add("--topk", type=int, metavar="K", help="documents a search (what the simulator learned, or 5)")
    add("--max-turns", type=int, default=5, metavar="N", help="actions an episode (5)")
    add("--ungated", action="store_true", help="take a tuned simulator that no gate accepted")
    parser.set_defaults(run=environment)


def simulator(options: argparse.Namespace) -> int:
    """Make the simulator; the exit status of the command that failed, or 0."""
    more: dict[str, list[str]] = {}
    for name, flags in options.more:
        try:
            more.setdefault(name, []).extend(shlex.split(flags))
        except ValueError as error:
            raise ConfigError(f"--with {name}: {flags!r} can't be read as flags: {error}.") from error
    settings = SimulatorSettings(
        persona=options.persona,
        base_model=options.base_model,
        quantise_to=None if options.quantise == "none" else options.quantise,
        gate_split=options.gate_split,
        more=more,
    )
    steps = plan_steps(options.folder, settings)
    if options.dry_run:
        for step in steps:
            print(step.command)
        return 0
    status = run_steps(
        steps, options.folder / LEDGER, _run, say=lambda line: print(line, flush=True), again=options.again
    )
    if status == 0:
        print(f"The gate accepted it. Next: python -m zs_env tune domain environment {options.folder}")
    return status


def _run(arguments: Sequence[str]) -> int:
    """Run a command of `python -m zs_env` in this process."""
    from zs_env.__main__ import main

    try:
        return main(list(arguments))
    except SystemExit as left:  # argparse: a flag that doesn't exist
        return left.code if isinstance(left.code, int) else 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def environment(options: argparse.Namespace) -> int:
    """Write the options, and show a program that uses them."""
    names = ("simulation_llm", "base_url", "persona", "split", "topk", "max_turns", "ungated")
    settings = EnvironmentSettings(**{name: getattr(options, name) for name in names})
    made = write_environment(options.folder, settings)
    print(f"{options.folder / SIMULATED} and {options.folder / BM25} are written. A program:\n")
    print("import json, gymnasium as gym, zs_env")
    print(f'env = gym.make("ZeroSearch-v0", **json.load(open("{(options.folder / SIMULATED).as_posix()}")))')
    print("observation, info = env.reset(seed=0)\n")
    print(f"The same in training:\n\npython -m agents train {shlex.join(_flags(made, options.folder))}")
    return 0


def _flags(made: dict[str, Any], folder: Path) -> list[str]:
    """The options as flags of `python -m agents`, which evaluates on questions that it doesn't train on."""
    flags = []
    for name in ("questions", "split", "search_mode", "simulation_llm", "base_url", "topk", "max_turns"):
        if name in made:
            flags += [f"--{name.replace('_', '-')}", str(made[name])]
    held_out = next((name for name in ("dev", "test") if name != made["split"] and _has(folder, name)), None)
    if held_out is not None:
        flags += ["--eval-split", held_out]
    for name, value in made.get("search_options", {}).items():
        flags += ["--search-option", f"{name}={_toml(value)}"]
    return flags


def _toml(value: Any) -> str:
    """A value as `--search-option` reads it again: tables and what would be taken for something else as TOML."""
    if isinstance(value, Mapping):
        inner = (f"{json.dumps(name)} = {json.dumps(inner, ensure_ascii=False)}" for name, inner in value.items())
        return f"{{{', '.join(inner)}}}"
    plain = str(value)
    return plain if search_option(f"name={plain}")[1] == value else json.dumps(value, ensure_ascii=False)


def _has(folder: Path, split: str) -> bool:
    try:
        return bool(load_questions(folder / QUESTIONS, split))
    except ConfigError:
        return False
