"""How long a turn takes to write (`python -m benchmarks decoding`): decoding steps recorded and played back, or not.

The weights are random and of a real shape, the prompts all of one length and different, so all are read. Every row
writes the same number of tokens. A step can't be faster than the weights and the cache are read from memory.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from zs_env.curriculum import check_whole
from zs_env.files import write_json

__all__ = ["SCHEMA", "add_parser", "measure", "run"]

SCHEMA = "zerosearch.decoding/1"


def measure(
    shape: str,
    *,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16"] = "bfloat16",
    rows: int = 64,
    prompt_tokens: int = 400,
    new_tokens: int = 40,
    repeats: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Time turns of a model of a shape.

    Args:
        shape: A name of `agents.plan.SHAPES`, or a folder with a config.
        device: Where it computes.
        dtype: Of the weights.
        rows: Conversations that speak at once.
        prompt_tokens: What each has read.
        new_tokens: What each writes; half as many in every other turn, so that a step's time can be told from the rest.
        repeats: Turns of each kind, after one that isn't counted.
        seed: Of weights and prompts.

    Returns:
        A record: for each way, `turn_s`, `step_ms` (of a token a row) and `tokens_per_s`; and `least_step_bytes`.
    """
    from agents.devices import resolve_device
    from agents.plan import find_shape
    from agents.plan.memory import cache_bytes_per_token
    from agents.plan.settings import Precision
    from agents.runs import describe_machine
    from agents.samplers.base import GenerationRequest, SamplingSettings
    from benchmarks.random_models import random_policy

    where, model_shape = resolve_device(device), find_shape(shape)
    policy = random_policy(model_shape, dtype=dtype, device=where, seed=seed)
    rng = random.Random(seed)
    prompts = [[rng.randrange(model_shape.vocabulary) for _ in range(prompt_tokens)] for _ in range(rows)]
    ways = []
    for recorded in (True, False):
        settings = SamplingSettings(stop_strings=())
        sampler = policy.sampler(settings, max_batch_tokens=10**9, record_steps=recorded)
        sampler._is_eos.fill_(False)  # nothing may end a turn before its length does
        seconds: dict[int, list[float]] = {new_tokens: [], new_tokens // 2: []}
        for repeat in range(repeats + 1):
            for count, kept in seconds.items():
                requests = [
                    GenerationRequest(prompt_ids=ids, seed=rows * repeat + row, max_new_tokens=count)
                    for row, ids in enumerate(prompts)
                ]
                began = time.perf_counter()
                sampler.generate(requests)  # its result is on the CPU, so there is nothing to wait for
                kept.append(time.perf_counter() - began)
        whole, half = (statistics.median(kept[1:]) for kept in seconds.values())
        step_s = (whole - half) / (new_tokens - new_tokens // 2)
        ways.append(
            {"recorded": recorded, "turn_s": whole, "step_ms": step_s * 1e3, "tokens_per_s": rows * new_tokens / whole}
        )
    precision = Precision.of(dtype)
    context = prompt_tokens + new_tokens / 2
    return {
        "schema": SCHEMA,
        "seed": seed,
        "settings": {
            "shape": model_shape.name,
            "dtype": dtype,
            "rows": rows,
            "prompt_tokens": prompt_tokens,
            "new_tokens": new_tokens,
            "repeats": repeats,
        },
        "ways": ways,
        "least_step_bytes": model_shape.num_parameters * precision.weight
        + rows * context * cache_bytes_per_token(model_shape, precision),
        "machine": describe_machine(),
    }


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `decoding` to the command line."""
    parser = commands.add_parser("decoding", help="how long a turn takes to write, its steps played back or not")
    add = parser.add_argument
    add("--shape", default="qwen2.5-1.5b", help="of the model, whose weights are random (qwen2.5-1.5b)")
    add("--device", default="auto", help="auto (a GPU if torch sees one), cpu, cuda or cuda:1")
    add("--dtype", default="bfloat16", choices=("float32", "bfloat16"), help="of the weights (bfloat16)")
    add("--rows", type=int, default=64, help="conversations that speak at once (64)")
    add("--prompt-tokens", type=int, default=400, help="what each has read (400)")
    add("--new-tokens", type=int, default=40, help="what each writes (40)")
    add("--repeats", type=int, default=3, help="turns of each kind that count (3)")
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write the record here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print a table, and write the record."""
    for name in ("rows", "prompt_tokens", "repeats"):
        check_whole(f"--{name.replace('_', '-')}", getattr(options, name), least=1)
    check_whole("--new-tokens", options.new_tokens, least=2)
    given = {name: value for name, value in vars(options).items() if name in signature(measure).parameters}
    record = measure(**given)
    if options.json is not None:
        write_json(options.json, record)
    settings, least_gb = record["settings"], record["least_step_bytes"] / 1e9
    print("| model | type | rows | steps | a turn | a step | tokens/s | weights and cache, read in that time |")
    print("|---|---|---|---|---|---|---|---|")
    for way in record["ways"]:
        print(
            f"| {settings['shape']} | {settings['dtype']} | {settings['rows']} "
            f"| {'played back' if way['recorded'] else 'kernel by kernel'} | {way['turn_s']:.3f} s "
            f"| {way['step_ms']:.2f} ms | {way['tokens_per_s']:.0f} | {least_gb:.2f} GB, "
            f"{least_gb / way['step_ms'] * 1e3:.0f} GB/s |"
        )
