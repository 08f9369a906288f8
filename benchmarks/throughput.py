"""What a step of the vector environment costs when its searches cost nothing (`python -m benchmarks throughput`).

Every environment searches four times and then answers. The loop reads every observation and every `info["search"]`,
asks each new question its own queries, and counts resets, which happen inside the step that ends an episode. Each
size is timed several times; the least disturbed time is reported beside the median, and beside both what an empty
loop iteration costs on the same machine at the same moment, because machines differ and are shared.
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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import zs_env

__all__ = ["Throughput", "add_parser", "measure", "run"]

SEARCHES = 4


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
    play = _player(envs, seed)
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


def _player(envs: gym.vector.VectorEnv[Any, Any, Any], seed: int) -> Callable[[int], int]:
    num_envs = envs.num_envs
    _, info = envs.reset(seed=seed)
    searches = [f"<search>{question}</search>" for question in info["question"]]
    turns = [i % SEARCHES for i in range(num_envs)]

    def play(num_steps: int) -> int:
        nonlocal turns
        read = 0
        for _ in range(num_steps):
            actions = ["<answer>nothing</answer>" if turns[i] == SEARCHES else searches[i] for i in range(num_envs)]
            observations, _, _, _, info = envs.step(actions)
            for observation in observations:
                read += len(observation)
            if "search" in info:
                search = info["search"]
                columns = [search[key] for key in search if key[0] != "_"]
                for i in np.flatnonzero(info["_search"]):
                    read += sum(column[i] is not None for column in columns)
            if "question" in info:
                questions = info["question"]
                for asked in np.flatnonzero(info["_question"]):
                    searches[asked] = f"<search>{questions[asked]}</search>"
            turns = [0 if turn == SEARCHES else turn + 1 for turn in turns]
        return read

    return play


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


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `throughput` to the command line."""
    parser = commands.add_parser("throughput", help="what a step of the vector environment costs")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print a table, and write the record."""
    rows = [measure(num_envs, repeats=options.repeats, seed=options.seed) for num_envs in options.num_envs]
    print("| environments | make_vec | a step, best | median | in empty loop iterations | memory each |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        loops = row.step_us * 1000 / row.empty_loop_ns
        print(
            f"| {row.num_envs} | {row.construct_s:.3f} s | {row.step_us:.1f} µs | {row.step_us_median:.1f} µs "
            f"| {loops:.0f} | {row.bytes_per_env / 1000:.1f} kB |"
        )
    if options.json is not None:
        record = {
            "schema": "zerosearch.throughput/1",
            "version": zs_env.__version__,
            "seed": options.seed,
            "settings": {"searches_per_episode": SEARCHES, "repeats": options.repeats, "topk": 5},
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "arch": platform.machine()},
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
