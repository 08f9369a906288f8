"""RLlib's own PPO learns to search with a menu of actions, and is measured beside policies that don't learn.

Run it with `python examples/rllib_ppo.py`; it needs `pip install "zerosearch-env[rllib]"` and torch, and takes some
minutes on two cores. Half of the searches bring noisy documents, three fifths of the questions need two searches that
build on each other, and an episode has five turns. PPO begins at random and is to find out when to search again, when
to ask about what it has found, and what to answer. It is trained on the atlas' training split and measured on its test
split, whose places are all new to it.

What to copy from it: `register_env`, `env_config`, the fractions of a core, and `chooser`, which plays RLlib's module.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # else Ray listens on all interfaces
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray will do anyway, and else warns of
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs from anywhere

from agents.rllib import BASELINES, make_env, play, register_env
from zs_env.errors import ZeroSearchError, require
from zs_env.questions import load_questions

LEARNED = "PPO"


def env_config(options: argparse.Namespace) -> dict[str, Any]:
    """What the environment is made with."""
    config: dict[str, Any] = {"noise_probability": options.noise}
    if options.observe == "tokens":
        config |= {"wrapper": "tokens+menu", "tokens": {"length": 192, "vocab_size": 1024}}
    return config


def configure(options: argparse.Namespace) -> Any:
    """RLlib's settings; `config.build_algo()` makes the algorithm."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec

    model: dict[str, Any] = {"model_config": DefaultModelConfig(fcnet_hiddens=[128, 128], fcnet_activation="relu")}
    if options.observe == "tokens":
        from agents.rllib.modules import TokenModule

        model = {"rl_module_spec": RLModuleSpec(module_class=TokenModule)}
    return (
        PPOConfig()
        .environment("ZeroSearch-v0", env_config=env_config(options) | {"seed": options.seed})
        # All of it in this process. On a larger machine: num_env_runners=8, and a learner on a GPU.
        .env_runners(num_env_runners=0, num_envs_per_env_runner=32)
        .learners(num_learners=0)
        .rl_module(**model)
        .training(
            train_batch_size_per_learner=512 if options.smoke else 4096,
            minibatch_size=128 if options.smoke else 512,
            num_epochs=6,
            lr=[[0, 1e-3], [options.iterations * 4096, 1e-4]],
            gamma=1.0,
            lambda_=0.95,
            clip_param=0.2,
            vf_clip_param=1.0,
            vf_loss_coeff=0.5,
            entropy_coeff=0.01,
            grad_clip=1.0,
        )
        .debugging(seed=options.seed, log_level="ERROR")
    )


def chooser(module: Any) -> Callable[[Sequence[Any], Sequence[Any]], list[int]]:
    """Picks the likeliest slot by RLlib's module, of those that hold something."""
    import numpy as np
    import torch
    from ray.rllib.core.columns import Columns

    def choose(observations: Sequence[Any], infos: Sequence[Any]) -> list[int]:
        with torch.no_grad():
            logits = module.forward_inference({Columns.OBS: torch.as_tensor(np.stack(observations))})
        mask = torch.as_tensor(np.stack([info["action_mask"] for info in infos])) > 0
        slots: list[int] = logits[Columns.ACTION_DIST_INPUTS].masked_fill(~mask, -torch.inf).argmax(-1).tolist()
        return slots

    return choose


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train, measure, print a table; returns the record that `--json` writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=0, help="of everything (0)")
    parser.add_argument("--iterations", type=int, default=40, help="training iterations of 4,096 steps (40)")
    parser.add_argument("--noise", type=float, default=0.5, help="chance that a search brings noisy documents (0.5)")
    parser.add_argument(
        "--observe",
        choices=("features", "tokens"),
        default="features",
        help="what the policy sees: numbers on the menu, or token ids of the text, with a module that embeds them",
    )
    parser.add_argument(
        "--smoke", action="store_true", help="a few seconds, to see that it runs; learns next to nothing"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    options = parser.parse_args(arguments)
    if options.seed < 0 or options.iterations < 1 or not 0 <= options.noise <= 1:
        parser.error("--seed must be at least 0, --iterations at least 1, and --noise in [0, 1]")
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such folder")
    if options.smoke:
        options.iterations = 2

    require("torch", needed_for="RLlib's PPO", install="pip install torch")
    register_env("ZeroSearch-v0")
    import ray

    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    algo, curve, began = None, [], time.perf_counter()
    try:
        algo = configure(options).build_algo()
        for iteration in range(options.iterations):
            result = algo.train()
            reward = float(result["env_runners"].get("episode_return_mean", float("nan")))
            curve.append({"steps": int(result["num_env_steps_sampled_lifetime"]), "reward": reward})
            if iteration % 5 == 4 or iteration == options.iterations - 1:
                seconds = time.perf_counter() - began
                print(
                    f"iteration {iteration + 1:3}  {curve[-1]['steps']:7} steps  {seconds:4.0f} s  reward {reward:.3f}",
                    flush=True,
                )
        trained_s = time.perf_counter() - began
        record = measure(options, {LEARNED: chooser(algo.get_module())})
    finally:
        if algo is not None:
            algo.stop()
        ray.shutdown()
    record |= {
        "schema": "zerosearch.rllib/1",
        "settings": {name: getattr(options, name) for name in ("seed", "iterations", "noise", "observe")},
        "seconds": {"training": trained_s, "total": time.perf_counter() - began},
        "curve": curve,
        "machine": describe(),
    }
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"Training took {trained_s:.0f} s, everything {record['seconds']['total']:.0f} s.")
    return record


def measure(options: argparse.Namespace, learned: dict[str, Any]) -> dict[str, Any]:
    """Play the test questions with everybody, with the same noise, and print how it went."""
    questions = list(load_questions("atlas", "test"))[: 64 if options.smoke else None]
    config = env_config(options) | {"split": "test"}
    players = {name: baseline(options.seed) for name, baseline in BASELINES.items()} | learned
    results = {}
    heading = f"{len(questions)} test questions, noise {options.noise:g}"
    print(f"\n{heading:32}  exact match             one hop   two hops   searches")
    for name, choose in players.items():
        found = results[name] = play(lambda: make_env(config), questions, choose, seed=options.seed)
        low, high = found["exact_match_ci"]
        hops = [found.get(f"hops_{n}", {"exact_match": float("nan")})["exact_match"] for n in (1, 2)]
        print(
            f"{name:32}  {found['exact_match']:.3f} [{low:.3f}, {high:.3f}]    {hops[0]:.3f}     {hops[1]:.3f}"
            f"      {found['searches_per_episode']:.2f}"
        )
    return {"results": results, "questions": {"source": "atlas", "split": "test", "n": len(questions)}}


def describe() -> dict[str, Any]:
    """What the figures depend on."""
    import gymnasium
    import ray
    import torch

    return {
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "ray": ray.__version__,
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
    }


if __name__ == "__main__":
    try:
        main()
    except ZeroSearchError as error:
        sys.exit(f"error: {error}")
