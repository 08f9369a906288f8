"""How near a plan comes (`python -m benchmarks planning`): `agents plan`'s numbers beside those of real training steps.

Steps are those of `agents.grpo` in `agents.executors`, in this process. With `--preset` the preset's own model plays;
with `--shape` one of that shape with random weights, which never ends an action by itself, so that lengths are known.
Each number is worked out twice: from the settings alone, and from the settings with the lengths of the episodes that
were played, which tells mistakes of the arithmetic from mistakes of the assumed lengths.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "measure", "run"]

SCHEMA = "zerosearch.planning/1"

_SHAPE_SECTIONS: dict[str, dict[str, Any]] = {
    "run": {"threads": 1},
    "model": {"source": "random weights"},
    "episode": {"prompt": "short", "max_turns": 2},
    "rollout": {"max_new_tokens": 32, "max_episode_tokens": 512},
    "training": {"questions_per_step": 2, "group_size": 4, "total_steps": 2},
    "grpo": {"zero_variance": "keep"},
    "optimizer": {"warmup_steps": 1},
    "learner": {"micro_batch_tokens": 1024},
}


def measure(*, preset: str | None = None, shape: str | None = None, num_steps: int = 3) -> dict[str, Any]:
    """Plan some training steps, make them, and put both side by side.

    Args:
        preset: A preset whose model is here.
        shape: Or a name of `agents.plan.SHAPES`, made with random weights.
        num_steps: Steps to make; the first is not counted.

    Returns:
        Rows of `what`, `planned` (from the settings alone), `planned_with_lengths` and `measured`.
    """
    import torch

    from agents.assembly import make_algorithm, make_executor, training_questions
    from agents.config import load_config, load_preset
    from agents.plan import find_hardware, find_shape, plan_memory, plan_time
    from agents.plan.reading import read_settings

    config = load_config(load_preset(preset) if preset else _SHAPE_SECTIONS)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    model_shape = find_shape(shape or config.model.path)
    engine = config.search.make_engine()
    questions = training_questions(config)
    hardware = find_hardware("cpu", threads=config.run.threads * config.run.workers)
    before_gb = _peak_gb()

    policy = _policy(config, shape)
    trainer = make_algorithm(config, make_executor(config, policy, engine), questions)
    steps = [trainer.step(step) for step in range(num_steps)]
    counted = steps[1:] or steps
    measured = {
        name: sum(step.metrics[f"{name}_s"] for step in counted) / len(counted) for name in ("rollout", "update")
    }
    episodes = [trajectory for step in counted for trajectory in step.trajectories]
    lengths = _lengths(episodes)

    def plan(**assumed: Any) -> dict[str, float]:
        reading = read_settings(config, is_gpu=False, assumed=assumed)
        assumptions = replace(reading.assumptions, margin=0.0, runtime_gb=before_gb)
        time = plan_time(model_shape, reading.run, hardware, assumptions)
        return {
            "tokens of an episode": reading.run.episode_tokens,
            "policy tokens of an episode": reading.run.policy_tokens,
            "seconds of a rollout": time.rollout,
            "seconds of an update": time.reference + time.critic + time.update,
            "peak memory in GB": plan_memory(model_shape, reading.run, hardware, assumptions).most / 1e9,
        }

    found = {
        "tokens of an episode": sum(episode.num_tokens for episode in episodes) / len(episodes),
        "policy tokens of an episode": sum(episode.num_policy_tokens for episode in episodes) / len(episodes),
        "seconds of a rollout": measured["rollout"],
        "seconds of an update": measured["update"],
        "peak memory in GB": _peak_gb(),
    }
    planned, with_lengths = plan(), plan(**lengths)
    return {
        "schema": SCHEMA,
        "model": model_shape.name,
        "hardware": asdict(hardware),
        "lengths": lengths,
        "runtime_gb": before_gb,
        "rows": [
            {"what": what, "planned": planned[what], "planned_with_lengths": with_lengths[what], "measured": value}
            for what, value in found.items()
        ],
    }


def _policy(config: Any, shape: str | None) -> Any:
    """The preset's model, or one of a shape with random weights and a tokenizer of bytes."""
    from agents.assembly import load_model

    if shape is None:
        return load_model(config, config.model.path)
    from agents.plan import find_shape
    from benchmarks.random_models import random_policy

    return random_policy(find_shape(shape))


def _lengths(episodes: list[Any]) -> dict[str, Any]:
    """The fields of `RunShape` that say how long episodes are, as they were."""
    prompts: list[int] = []
    actions: list[int] = []
    documents: list[int] = []
    for episode in episodes:
        prompts.append(len(episode.segments[0].ids))
        for segment in episode.segments[1:]:
            (actions if segment.provenance == "policy" else documents).append(len(segment.ids))
    return {
        "prompt_tokens": round(sum(prompts) / len(prompts)),
        "num_actions": len(actions) / len(episodes),
        "action_tokens": sum(actions) / len(actions),
        "document_tokens": sum(documents) / max(len(documents), 1),
    }


def _peak_gb() -> float:
    """The most memory that this process has had, in 10⁹ bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `planning` to the command line."""
    parser = commands.add_parser(
        "planning",
        help="a plan's memory and time beside those of real training steps",
        description="Make a few training steps on this CPU, and show the numbers of `agents plan` beside theirs.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", default="quickstart", help="a preset whose model is here (quickstart)")
    source.add_argument("--shape", help="a model of this shape with random weights, for example smollm2-135m")
    parser.add_argument("--steps", type=int, default=3, help="steps to make; the first is not counted (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, and show a table."""
    record = measure(preset=None if options.shape else options.preset, shape=options.shape, num_steps=options.steps)
    print(
        f"{record['model']}, {record['hardware']['peak_tflops']:.3f} TFLOP/s, "
        f"{record['hardware']['bandwidth_gb_s']:.1f} GB/s"
    )
    print("| | planned | with the lengths as played | measured | ratio |\n|---|---|---|---|---|")
    for row in record["rows"]:
        ratio = row["planned_with_lengths"] / row["measured"]
        print(
            f"| {row['what']} | {row['planned']:.3g} | {row['planned_with_lengths']:.3g} | {row['measured']:.3g} "
            f"| {ratio:.2f} |"
        )
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
