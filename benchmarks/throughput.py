"""What a step and a search turn cost, ours beside GEM and SkyRL-gym (`python -m benchmarks throughput`).

First, steps of our vector environment alone, at several sizes. Every environment searches four times and then answers.
The loop reads every observation and every `info["search"]`, asks each new question its own queries, and counts resets,
which happen inside the step that ends an episode. Each size is timed several times; the least disturbed time is
reported beside the median, and beside both what an empty loop iteration costs on the same machine at the same moment,
because machines differ and are shared.

Then the same beside the peers, in one run and in turns, each library in a process of its own: a step whose search costs
nothing, and one search turn of many episodes against a server that answers after 100 ms and counts. The peers are
installed from PyPI, pinned, into a virtual environment of their own (`benchmarks/peers`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

import zs_env
from benchmarks.fanout_server import FanoutServer
from benchmarks.peers.installing import default_folder, install_peers
from benchmarks.peers.measuring import StepCost, TurnCost, arms_of, measure_steps, measure_turns
from benchmarks.peers.program import Program, module_command
from benchmarks.peers.tables import NOTES, record_lines, step_table, turn_table, write_between
from benchmarks.stepping import SEARCHES, play_vector
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError, require

__all__ = ["Throughput", "add_parser", "measure", "measure_beside", "run"]

PEERS = {"gem": "gem_program", "skyrl": "skyrl_program"}
"""Their programs."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What one number of environments costs.

    Attributes:
        num_envs: How many.
        construct_s: Seconds to make them with `gym.make_vec`, the questions loaded already.
        step_us: Microseconds an environment and step, the best of the repeats.
        step_us_median: The median of the repeats.
        empty_loop_ns: Nanoseconds an iteration of an empty Python loop took meanwhile, the best of the repeats.
        bytes_per_env: Memory an environment in the middle of an episode, its transcript's characters not counted.
    """

    num_envs: int
    construct_s: float
    step_us: float
    step_us_median: float
    empty_loop_ns: float
    bytes_per_env: float


def measure(num_envs: int, *, num_steps: int = 40, repeats: int = 7, seed: int = 0) -> Throughput:
    """Measure one number of environments.

    Args:
        num_envs: How many.
        num_steps: Vector steps a repeat.
        repeats: How often to time them, after as many steps again as show each question once or twice.
        seed: The seed of the environments.
    """
    gym.make("ZeroSearch-v0").close()  # loads the questions
    start = time.perf_counter()
    envs = gym.make_vec("ZeroSearch-v0", num_envs=num_envs, autoreset_mode="SameStep")
    construct_s = time.perf_counter() - start
    play = play_vector(envs, seed)
    questions = len(envs.unwrapped.questions)  # type: ignore[attr-defined]
    play(max(num_steps, 2 * questions * (SEARCHES + 1) // num_envs))
    times, loops = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        play(num_steps)
        times.append((time.perf_counter() - start) / num_steps / num_envs * 1e6)
        loops.append(_empty_loop_ns())
    return Throughput(
        num_envs=num_envs,
        construct_s=construct_s,
        step_us=min(times),
        step_us_median=statistics.median(times),
        empty_loop_ns=min(loops),
        bytes_per_env=_bytes_per_env(num_envs, seed),
    )


def _empty_loop_ns(iterations: int = 200_000) -> float:
    start = time.perf_counter()
    for _ in range(iterations):
        pass
    return (time.perf_counter() - start) / iterations * 1e9


def _bytes_per_env(num_envs: int, seed: int) -> float:
    _in_the_middle(num_envs, seed)  # fills the engine's caches, which all environments share
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    envs, observations = _in_the_middle(num_envs, seed)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    envs.close()
    # A transcript is held whole, and in parts that are texts of their own.
    return (used - sum(2 * sys.getsizeof(text) for text in observations)) / num_envs


def _in_the_middle(num_envs: int, seed: int) -> tuple[gym.vector.VectorEnv[Any, Any, Any], tuple[str, ...]]:
    envs = gym.make_vec("ZeroSearch-v0", num_envs=num_envs, autoreset_mode="SameStep")
    _, info = envs.reset(seed=seed)
    observations, *_ = envs.step([f"<search>{question}</search>" for question in info["question"]])
    return envs, observations


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Ours beside the peers.

    Attributes:
        described: What each program said of itself, by library: packages, Python, which functions it drives.
        steps: Steps whose searches cost nothing.
        turns: Search turns of many episodes.
    """

    described: dict[str, dict[str, Any]]
    steps: list[StepCost]
    turns: list[TurnCost]


def measure_beside(
    programs: Sequence[Program],
    *,
    episodes: Sequence[int],
    latency_s: float = 0.1,
    num_envs: int = 256,
    num_steps: int = 40,
    repeats: int = 7,
) -> Beside:
    """Let every program play the same, in turns.

    Args:
        programs: Running programs, ours first.
        episodes: How many episodes search in a turn; several are measured one after the other.
        latency_s: The server's latency.
        num_envs: Environments that step together where searches cost nothing.
        num_steps: Steps of each in a round.
        repeats: How many rounds, after one that isn't counted.
    """
    described = {program.name: program.ask("describe") for program in programs}
    arms = arms_of(programs, "steps", described)
    steps = measure_steps(arms, num_envs=num_envs, num_steps=num_steps, repeats=repeats)
    print("", *step_table(steps), "", sep="\n", flush=True)
    arms = arms_of(programs, "turns", described)
    turns: list[TurnCost] = []
    with FanoutServer(latency_s) as server:
        for number in episodes:
            rows = measure_turns(arms, server, episodes=number, latency_s=latency_s, repeats=repeats)
            lines = turn_table(rows)
            print(*(lines[2:] if turns else lines), sep="\n", flush=True)
            turns += rows
    if len(programs) > 1:
        print("", *(f"- {note}" for note in NOTES), sep="\n")
    return Beside(described=described, steps=steps, turns=turns)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `throughput` to the command line."""
    parser = commands.add_parser("throughput", help="what a step and a search turn cost, ours beside GEM and SkyRL-gym")
    parser.add_argument(
        "--num-envs",
        type=int,
        nargs="*",
        default=[64, 256, 1024, 4096],
        help="sizes of our vector environment alone; none to leave that out",
    )
    parser.add_argument("--episodes", type=int, nargs="+", default=[64, 256, 1024], help="that search in a turn")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="of the server (100)")
    parser.add_argument("--num-steps", type=int, default=40, help="steps of each environment that are timed (40)")
    parser.add_argument("--repeats", type=int, default=7, help="how often everything is timed (7)")
    parser.add_argument("--seed", type=int, default=0, help="of our vector environment alone")
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=[*PEERS, "none"],
        default=list(PEERS),
        help="whom to measure beside ours (gem skyrl)",
    )
    parser.add_argument(
        "--peers-venv",
        type=Path,
        default=default_folder(),
        help="the virtual environment of the peers' packages, made if it isn't there (in .cache of the checkout)",
    )
    parser.add_argument("--peers-python", help="the interpreter to make it with (Python 3.11)")
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument("--show", type=Path, metavar="RECORD", help="measure nothing; print a record's tables")
    parser.add_argument("--into", type=Path, metavar="DOCUMENT", help="with --show: write them between its marks")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print tables, and write the record; or show one."""
    if options.show is not None:
        lines = record_lines(_read(options.show))
        print(*lines, sep="\n")
        if options.into is not None:
            write_between(options.into, lines)
        return
    if options.into is not None:
        raise ConfigError("--into writes a record's tables into a document; name the record: --show RECORD.")
    require("aiohttp", needed_for="Measuring search turns", install='pip install "zerosearch-env[simulate]"')
    for name, given in (
        ("repeats", [options.repeats]),
        ("num-steps", [options.num_steps]),
        ("episodes", options.episodes),
    ):
        for value in given:
            check_whole(f"--{name}", value, least=1)
    if options.json is not None:  # better now than after ten minutes
        options.json.parent.mkdir(parents=True, exist_ok=True)
    peers = [] if options.peers == ["none"] else list(dict.fromkeys(options.peers))
    if "none" in peers:
        raise ConfigError(f"--peers takes none alone or names of peers; got {' '.join(options.peers)}.")
    commands = {"ours": module_command(sys.executable, "our_program")}
    if peers:
        interpreter = install_peers(options.peers_venv, python=options.peers_python)
        commands |= {peer: module_command(interpreter, PEERS[peer]) for peer in peers}
    repeats = options.repeats
    rows = [
        measure(num_envs, num_steps=options.num_steps, repeats=repeats, seed=options.seed)
        for num_envs in options.num_envs
    ]
    if rows:
        _print_sizes(rows)
    latency_s = options.latency_ms / 1000
    with ExitStack() as stack:
        programs = [stack.enter_context(Program(name, command)) for name, command in commands.items()]
        beside = measure_beside(
            programs,
            episodes=options.episodes,
            latency_s=latency_s,
            num_steps=options.num_steps,
            repeats=repeats,
        )
    if options.json is not None:
        record = {
            "schema": "zerosearch.throughput/2",
            "version": zs_env.__version__,
            "seed": options.seed,
            "settings": {
                "searches_per_episode": SEARCHES,
                "num_steps": options.num_steps,
                "repeats": repeats,
                "topk": 5,
                "latency_s": latency_s,
                "documents": "the server's own five, alike for all; ready made where a search costs nothing",
            },
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "arch": platform.machine()},
            "notes": NOTES,
            "libraries": beside.described,
            "rows": [asdict(row) for row in rows],
            "steps": [asdict(row) for row in beside.steps],
            "turns": [asdict(row) | {"as_it_should": row.as_it_should} for row in beside.turns],
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--show {str(file)!r} can't be read as a record of `throughput --json`: {error}.") from error


def _print_sizes(rows: Sequence[Throughput]) -> None:
    print("| environments | make_vec | a step, best | median | in empty loop iterations | memory each |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        loops = row.step_us * 1000 / row.empty_loop_ns
        print(
            f"| {row.num_envs} | {row.construct_s:.3f} s | {row.step_us:.1f} µs | {row.step_us_median:.1f} µs "
            f"| {loops:.0f} | {row.bytes_per_env / 1000:.1f} kB |",
            flush=True,
        )
