"""One run of the study, from settings to a record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import torch

from agents.assembly import make_algorithm, make_executor, training_questions
from agents.config import TrainConfig
from agents.evaluate import evaluate_policy, pick_questions
from agents.policy import Policy, load_policy
from agents.runs import describe_machine, write_json
from agents.samplers.base import SamplingSettings
from agents.trajectory import Trajectory
from agents.warmstart.continued import continue_warm_start
from agents.warmstart.training import WarmStartSettings
from benchmarks.learning.arms import Arm
from benchmarks.learning.changes import AnswersAtOnce, RandomQueries, ShuffledRewards, Unmasked
from zs_env.errors import ConfigError
from zs_env.questions import QuestionList, load_questions
from zs_env.types import SearchEngine

__all__ = ["CURVES", "SCHEMA", "record_path", "run_arm", "study_settings"]

SCHEMA = "zerosearch.learning/1"

CURVES = ("exact_match", "reward_mean", "searches_per_episode", "entropy", "policy_tokens", "grad_norm", "kl")
"""The metrics of which a record keeps every step."""

_LATER: dict[str, tuple[str, ...]] = {
    "model": ("base",),
    "sampling": ("sampler", "vllm_options", "keep_cache", "max_cached_tokens"),
    "optimizer": ("kind", "masters"),
    "critic": ("kind", "masters"),
    "training": (
        "constant_tokens",
        "importance",
        "old_logprobs",
        "importance_cap",
        "overlong_tokens",
        "overlong_buffer_tokens",
    ),
    "grpo": ("dynamic_sampling_rounds",),
}
"""Settings that there weren't when the published records were made: with their defaults a run is what it was then."""

_EXECUTORS = {"shuffled_rewards": ShuffledRewards, "unmasked": Unmasked}


def record_path(folder: Path, arm: Arm, seed: int) -> Path:
    """Where the record of a run is kept."""
    return folder / f"{arm.name}-seed{seed}.json"


def study_settings(arm: Arm, config: TrainConfig, eval_limit: int) -> dict[str, Any]:
    """What a record depends on: a record of other settings isn't one of this study."""
    record = {name: values for name, values in config.record().items() if name not in ("alarm", "learner")}
    for section, keys in (
        ("run", ("algorithm", "seed")),
        ("search", ("mode", "topk")),
        ("episode", ("max_turns", "prompt", "reward")),
    ):
        record[section] = {key: record[section][key] for key in keys}
    for section, later in _LATER.items():
        default = get_type_hints(TrainConfig)[section]
        for key in later:
            if section in record and record[section][key] == _default_of(default, key):
                del record[section][key]
    if not config.lora.rank:
        del record["lora"]
    if not config.imitation.num_steps:
        del record["imitation"]
    if config.run.executor == "local":
        del record["scale"]
    return {"arm": arm.name, "change": arm.change, "eval_limit": eval_limit, "training": record}


def _default_of(section: type[Any], key: str) -> Any:
    (item,) = [item for item in fields(section) if item.name == key]
    return item.default if item.default_factory is MISSING else item.default_factory()


def run_arm(
    arm: Arm,
    seed: int,
    folder: Path,
    *,
    eval_limit: int,
    total_steps: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train by an arm's settings and measure; the record is written at the end.

    Args:
        arm: What to run.
        seed: Of the training.
        folder: Where records are kept.
        eval_limit: Test questions that are measured on.
        total_steps: For a trial: other than the preset's.
        say: Is told how it goes.

    Raises:
        ConfigError: Supervised training lacks the record of the run whose time it is to be given.
    """
    torch.set_num_threads(1)
    config = arm.config(seed, total_steps=total_steps)
    policy, engine = load_policy(config.model.path), config.search.make_engine()
    began, began_cpu = time.perf_counter(), time.process_time()
    curves, steps = _train(arm, config, policy, engine, folder, say)
    seconds = {"wall": time.perf_counter() - began, "cpu": time.process_time() - began_cpu}
    say(f"{arm.name} seed {seed}: trained for {seconds['cpu']:.0f} CPU s; measuring …")
    after, fingerprint = _measure(arm, config, policy, engine, eval_limit)
    record = {
        "schema": SCHEMA,
        "arm": arm.name,
        "seed": seed,
        "steps": steps,
        "seconds": seconds,
        "curves": curves,
        "after": after,
        "settings": study_settings(arm, config, eval_limit),
        "fingerprints": {"questions": fingerprint, **policy.fingerprints()},
        "machine": describe_machine(),
    }
    write_json(record_path(folder, arm, seed), record)
    return record


def _train(
    arm: Arm,
    config: TrainConfig,
    policy: Policy,
    engine: SearchEngine,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[dict[str, list[float]], int]:
    """Curves, and the steps taken."""
    if arm.change == "no_training":
        return {}, 0
    if arm.change == "supervised":
        return {}, continue_warm_start(
            policy, WarmStartSettings(), seed=config.run.seed, cpu_seconds=_time_of_rl(folder, config.run.seed)
        )
    executor: Any = make_executor(config, policy, engine)
    if arm.change in _EXECUTORS:
        executor = _EXECUTORS[arm.change](executor, seed=config.run.seed)
    algorithm: Any = make_algorithm(config, executor, training_questions(config))
    if arm.change == "wrong_kl_sign":
        algorithm.loss = replace(algorithm.loss, kl_coef=-algorithm.loss.kl_coef)
    curves: dict[str, list[float]] = {}
    for step in range(config.training.total_steps):
        metrics = algorithm.step(step).metrics
        for name in CURVES:
            if name in metrics:
                curves.setdefault(name, []).append(round(float(metrics[name]), 5))
        if step % 10 == 0:
            say(f"{arm.name} seed {config.run.seed}: step {step}, exact match {metrics['exact_match']:.2f}")
    return curves, config.training.total_steps


def _time_of_rl(folder: Path, seed: int) -> float:
    """The processor time that GRPO took with the same seed."""
    path = folder / f"grpo-seed{seed}.json"
    if not path.is_file():
        raise ConfigError(
            f"Supervised training is given the time of GRPO's run, but there is no {path.name}: run it first."
        )
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]["cpu"])


def _measure(
    arm: Arm, config: TrainConfig, policy: Policy, engine: Any, eval_limit: int
) -> tuple[dict[str, dict[str, Any]], str]:
    """The record M at noise 0 and 0.5 and, if wanted, of the same policy with something taken away."""
    source = load_questions("atlas", "test")
    questions = pick_questions(source, eval_limit)
    seen: list[Trajectory] = []

    def play(noise: float, **changes: Any) -> dict[str, Any]:
        options: dict[str, Any] = {
            "engine": engine,
            "episode_settings": config.episode.settings(config.search.topk),
            "rollout_settings": config.rollout,
            "sampled": False,
            "seed": config.evaluation.seed,
            "sampler_options": config.sampler_options,
        }
        return evaluate_policy(policy, questions, noise_probability=noise, **(options | changes))

    after = {"noise_0": play(0.0, keep=seen.extend), "noise_0.5": play(0.5)}
    if arm.probed or arm.change == "no_training":
        greedy = policy.sampler(SamplingSettings(greedy=True), **config.sampler_options)
        at_once = AnswersAtOnce(greedy, policy.codec)
        after["closed_book"] = play(0.0, samplers=(at_once, at_once))
        queries = [search.query for trajectory in seen for search in trajectory.searches]
        after["random_queries"] = play(0.0, engine=RandomQueries(engine, queries))
    return after, QuestionList(questions, name=source.name, split=source.split).fingerprint
