"""How much of a device's peak an update reaches (`python -m benchmarks utilisation`): model FLOP utilisation (MFU).

The update is that of a run: `Learner.update` over packed groups of several turns, with the clipped loss and AdamW, in
bfloat16 over float32 masters unless told otherwise. The weights are random and of a real shape. What counts as work is
what the tokens need at the least: 2 operations a weight and token forward, twice that backward, and attention over what
a token sees; a shared prompt counts once, and layers that are computed again count once, too (PaLM, arXiv 2204.02311,
appendix B).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from inspect import signature
from pathlib import Path
from typing import Any

from zs_env.curriculum import check_whole

__all__ = ["SCHEMA", "add_parser", "measure", "run"]

SCHEMA = "zerosearch.utilisation/1"


def measure(
    shape: str,
    *,
    device: str = "auto",
    hardware: str = "cpu",
    peak_tflops: float | None = None,
    dtype: str = "bfloat16",
    groups: int = 4,
    group_size: int = 8,
    prompt_tokens: int = 200,
    turns: int = 4,
    micro_batch_tokens: int = 16_384,
    gradient_checkpointing: bool = False,
    repeats: int = 5,
    threads: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Time updates of a model of a shape.

    Args:
        shape: A name of `agents.plan.SHAPES`, or a folder with a config.
        device: Where it computes.
        hardware: Whose peak; see `agents.plan.find_hardware`.
        peak_tflops: In its place, in 10¹² operations a second.
        dtype: Of the weights.
        groups: Prompts.
        group_size: Episodes a prompt.
        prompt_tokens: Of a prompt.
        turns: Each of 40 policy tokens, with 60 of the environment between two.
        micro_batch_tokens: Tokens that are differentiated at once.
        gradient_checkpointing: Whether activations are made again.
        repeats: Updates, after one that isn't counted.
        threads: That a CPU computes with; 0 for torch's own choice.
        seed: Of weights and tokens.

    Returns:
        A record: settings, seconds of each update, tokens, operations, and `mfu`.
    """
    import torch

    from agents.accumulation import Example
    from agents.algorithm import PolicyLoss
    from agents.devices import resolve_device
    from agents.learner import Learner
    from agents.optimization import OptimizerSettings
    from agents.packed import pack
    from agents.plan import find_hardware, find_shape
    from agents.plan.timing import forward_flops
    from agents.runs import describe_machine
    from benchmarks.random_models import random_policy

    if threads:
        torch.set_num_threads(threads)
    where = resolve_device(device)
    model_shape = find_shape(shape)
    policy = random_policy(model_shape, dtype=dtype, device=where, seed=seed)
    learner = Learner(
        policy,
        OptimizerSettings(),
        batching=policy.batching(micro_batch_tokens),
        recompute=gradient_checkpointing,
    )
    episodes = _episodes(random.Random(seed), model_shape.vocabulary, groups, group_size, prompt_tokens, turns)
    examples = [Example.of(episode, 1.0 if at % 2 else -1.0) for at, episode in enumerate(episodes)]
    packed = pack(episodes)
    seen = packed.layout.positions().double() + 1
    flops = 3 * forward_flops(model_shape, len(packed.ids), context=float(seen.mean()), head_tokens=len(packed.targets))
    peak = find_hardware(hardware, dtype=dtype, threads=threads, peak_tflops=peak_tflops)
    seconds = []
    for _ in range(repeats + 1):
        _wait(where)
        began = time.perf_counter()
        learner.update(examples, PolicyLoss(), aggregation="token_mean", learning_rate=1e-6)
        _wait(where)
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds[1:])
    return {
        "schema": SCHEMA,
        "seed": seed,
        "settings": {
            "shape": model_shape.name,
            "dtype": dtype,
            "groups": groups,
            "group_size": group_size,
            "prompt_tokens": prompt_tokens,
            "turns": turns,
            "micro_batch_tokens": micro_batch_tokens,
            "gradient_checkpointing": gradient_checkpointing,
            **policy.describe(),
        },
        "tokens": sum(episode.num_tokens for episode in episodes),
        "computed_tokens": len(packed.ids),
        "policy_tokens": len(packed.targets),
        "tflop": flops / 1e12,
        "peak_tflops": peak.peak_tflops,
        "peak_source": peak.source,
        "seconds": seconds[1:],
        "tokens_per_s": sum(episode.num_tokens for episode in episodes) / median,
        "mfu": flops / median / (peak.peak_tflops * 1e12),
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9 if where.type == "cuda" else None,
        "machine": describe_machine(),
    }


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _episodes(
    rng: random.Random, vocabulary: int, groups: int, group_size: int, prompt_tokens: int, turns: int
) -> list[Any]:
    from agents.trajectory import TokenSegment, Trajectory

    def draw(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(vocabulary) for _ in range(count))

    episodes = []
    for group in range(groups):
        prompt = TokenSegment("prompt", draw(prompt_tokens), "")
        for _ in range(group_size):
            segments = [prompt]
            for turn in range(turns):
                segments.append(TokenSegment("policy", draw(40), "", (-1.0,) * 40))
                if turn < turns - 1:
                    segments.append(TokenSegment("environment", draw(60), ""))
            episodes.append(Trajectory(question_id="q", question="", golden_answers=(), group=group, segments=segments))
    return episodes


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `utilisation` to the command line."""
    parser = commands.add_parser("utilisation", help="how much of a device's peak an update reaches")
    add = parser.add_argument
    add("--shape", default="qwen2.5-1.5b", help="of the model, whose weights are random (qwen2.5-1.5b)")
    add("--device", default="auto", help="auto (a GPU if torch sees one), cpu, cuda or cuda:1")
    add("--hardware", default="cpu", help="whose peak: cpu (measured), h100, a100, l40s or rtx4090")
    add("--peak-tflops", type=float, help="its peak, in 10¹² operations a second")
    add("--dtype", default="bfloat16", help="float32 or bfloat16 (bfloat16)")
    add("--groups", type=int, default=4, help="prompts (4)")
    add("--group-size", type=int, default=8, help="episodes a prompt (8)")
    add("--micro-batch-tokens", type=int, default=16_384, help="tokens that are differentiated at once (16384)")
    add("--gradient-checkpointing", action="store_true", help="make activations again in the backward pass")
    add("--repeats", type=int, default=5, help="updates that count (5)")
    add("--threads", type=int, default=0, help="that a CPU computes with")
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write the record here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print a line, and write the record."""
    for name in ("groups", "group_size", "micro_batch_tokens", "repeats"):
        check_whole(f"--{name.replace('_', '-')}", getattr(options, name), least=1)
    given = {name: value for name, value in vars(options).items() if name in signature(measure).parameters}
    record = measure(**given)
    if options.json is not None:
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    settings, seconds = record["settings"], statistics.median(record["seconds"])
    print("| model | type | layout | attention | tokens, computed | update | tokens/s | TFLOP/s | of peak |")
    print("|---|---|---|---|---|---|---|---|---|")
    print(
        f"| {settings['shape']} | {settings['dtype']} | {settings['layout']} | {settings['attention']} "
        f"| {record['tokens']}, {record['computed_tokens']} | {seconds:.2f} s | {record['tokens_per_s']:.0f} "
        f"| {record['tflop'] / seconds:.2f} "
        f"| {record['mfu']:.1%} of {record['peak_tflops']:.2f} ({record['peak_source']}) |"
    )
