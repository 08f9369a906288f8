"""What the parts of a step take when nothing else runs: a sampler, a learner, Ray's object store and its calls.

Each is measured in a process of its own, with all of a step's work and with half of it, as two samplers or learners
would each have.
"""

from __future__ import annotations

import os
import pickle
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.loopback import start_on_loopback

__all__ = ["Alone", "measure_alone", "measure_ray", "measure_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """Medians of a few repeats.

    Attributes:
        rollout_s: Seconds of playing a step's episodes, by the share of them that was played ("1", "0.5").
        rollout_tokens: Policy tokens of these.
        update_s: Seconds of learning from them: log-probs anew, one update.
        update_tokens: Tokens of these.
        weights_bytes: Of the policy's weights.
        trajectories_bytes: Of a step's episodes, pickled.
    """

    rollout_s: dict[str, float]
    rollout_tokens: dict[str, float]
    update_s: dict[str, float]
    update_tokens: dict[str, float]
    weights_bytes: int
    trajectories_bytes: int


def measure_alone(settings: Path, *, repeats: int) -> Alone:
    """A sampler and a learner, one after the other, in this process.

    Args:
        settings: The arms' config file.
        repeats: Steps of each size, after one that isn't counted.
    """
    import torch

    from agents.assembly import make_algorithm, make_executor, starting_policy, training_questions
    from agents.config import load_config, merge_layers
    from agents.config_files import read_file

    whole = load_config(merge_layers(read_file(settings)), origin=str(settings))
    torch.set_num_threads(whole.run.threads)
    policy, engine, questions = starting_policy(whole), whole.search.make_engine(), training_questions(whole)
    found: dict[str, dict[str, float]] = {
        name: {} for name in ("rollout_s", "rollout_tokens", "update_s", "update_tokens")
    }
    trajectories_bytes = 0
    for share in (1.0, 0.5):
        count = max(round(whole.training.questions_per_step * share), 1)
        config = replace(whole, training=replace(whole.training, questions_per_step=count))
        trainer = make_algorithm(config, make_executor(config, policy, engine), questions)
        taken: dict[str, list[float]] = {name: [] for name in found}
        for step in range(repeats + 1):
            began = time.perf_counter()
            rolled = trainer.play(step)
            played = time.perf_counter()
            trainer.learn(step, rolled.trajectories)
            learned = time.perf_counter()
            if step:
                taken["rollout_s"].append(played - began)
                taken["update_s"].append(learned - played)
                taken["rollout_tokens"].append(sum(one.num_policy_tokens for one in rolled.trajectories))
                taken["update_tokens"].append(sum(one.num_tokens for one in rolled.trajectories))
        for name, values in taken.items():
            found[name][f"{share:g}"] = statistics.median(values)
        if share == 1:
            trajectories_bytes = len(pickle.dumps(rolled.trajectories))
    weights = sum(one.numel() * one.element_size() for one in policy.model.parameters())
    return Alone(weights_bytes=weights, trajectories_bytes=trajectories_bytes, **found)


def measure_ray(*, weights_bytes: int, trajectories_bytes: int, repeats: int) -> dict[str, float]:
    """Ray on this machine, with one actor.

    Args:
        weights_bytes: Of what is published.
        trajectories_bytes: Of a step's episodes.
        repeats: How often each is timed.

    Returns:
        `call_s`: a call without arguments, and its answer. `put_s` and `get_s`: of an array as large as the weights,
        into the store and copied out of it by the actor. `there_and_back_s`: of bytes as many as a step's episodes,
        given to the actor and given back. `put_gb_s` and `get_gb_s`: of 100 MB, in 10⁹ bytes a second.
    """
    import numpy as np

    ray = _started(max(400_000_000, 4 * weights_bytes))
    try:
        actor = ray.remote(_Actor).options(num_cpus=0.1).remote()

        def ask(name: str, *given: Any) -> Any:
            return ray.get(getattr(actor, name).remote(*given))

        ask("give_back", None)
        large, weights = (np.ones(size // 4 + 1, dtype=np.float32) for size in (100_000_000, weights_bytes))
        found = {"call_s": _median(lambda: ask("give_back", None), 50 * repeats)}
        for put, get, array in (("put_s", "get_s", weights), ("put_100_s", "get_100_s", large)):
            found[put] = _median(lambda array=array: ray.put(array), repeats)  # type: ignore[misc]
            reference = ray.put(array)
            found[get] = _median(lambda reference=reference: ask("copy", reference), repeats)  # type: ignore[misc]
        episodes = b"0" * trajectories_bytes
        found["there_and_back_s"] = _median(lambda: ask("give_back", episodes), repeats)
    finally:
        ray.shutdown()
    for name in ("put", "get"):
        found[f"{name}_gb_s"] = 0.1 / found.pop(f"{name}_100_s")
    return found


def measure_store(*, gigabytes: int = 1, repeats: int = 3) -> list[float]:
    """How fast large weights go into the object store's memory that nobody has used before, in 10⁹ bytes a second.

    `measure_ray`'s arrays come to lie where others lay, which is faster, and which weights of gigabytes don't.

    Args:
        gigabytes: The size of an array.
        repeats: How many are put there, none of which is let go.
    """
    import numpy as np

    ray = _started((repeats + 1) * gigabytes * 1_100_000_000)
    try:
        array, kept, found = np.ones(gigabytes * 250_000_000, dtype=np.float32), [], []
        for _ in range(repeats):
            began = time.perf_counter()
            kept.append(ray.put(array))
            found.append(gigabytes / (time.perf_counter() - began))
    finally:
        ray.shutdown()
    return found


def _started(store_bytes: int) -> Any:
    """Ray on this machine alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return start_on_loopback(num_cpus=2, object_store_memory=store_bytes)


class _Actor:
    def give_back(self, given: Any) -> Any:
        return given

    def copy(self, array: Any) -> int:
        return len(array.copy())


def _median(act: Callable[[], Any], repeats: int) -> float:
    act()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
