"""More of the same supervised training, from where the warm start ended: what reinforcement learning has to beat."""

from __future__ import annotations

import random
import time

from agents.policy import Policy
from agents.warmstart.demonstrations import Demonstrator
from agents.warmstart.training import WarmStartSettings, _Examples, _make_optimizer, _step, make_tokenizer
from zs_env.engines import make_engine
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.questions import load_atlas

__all__ = ["continue_warm_start"]


def continue_warm_start(
    policy: Policy,
    settings: WarmStartSettings,
    *,
    seed: int,
    cpu_seconds: float,
    learning_rate: float = 1e-3,
) -> int:
    """Go on imitating fresh demonstrations for so much processor time; the rate falls in a straight line to nothing.

    Args:
        policy: What is trained, in place; it must have the warm start's own tokenizer.
        settings: The warm start's.
        seed: Of the fresh demonstrations.
        cpu_seconds: Of this process, all threads together.
        learning_rate: At the start; half of what the warm start itself began with.

    Returns:
        Optimizer steps taken.

    Raises:
        ConfigError: The policy has another tokenizer.
    """
    engine, world = make_engine("template"), load_atlas().world("train")
    tokenizer, inventor = make_tokenizer(world, engine, settings.model, settings.seed, settings.topk)
    if tokenizer.get_vocab() != policy.tokenizer.get_vocab():
        raise ConfigError("The policy's tokenizer isn't the warm start's: its demonstrations are for that one alone.")
    episode = EpisodeSettings(max_turns=settings.max_turns, topk=settings.topk, prompt="short")
    demonstrator = Demonstrator(world, engine, settings.demonstrations, episode)
    rng = random.Random(f"continued {seed}")
    examples = _Examples(policy, lambda: demonstrator.draw(rng, inventor), settings.batch_size, rng)
    optimizer = _make_optimizer(policy.model, settings)
    began, steps = time.process_time(), 0
    for batch in examples:
        left = 1.0 - (time.process_time() - began) / cpu_seconds
        if left <= 0:
            break
        _step(policy, optimizer, batch, learning_rate * left, settings.max_grad_norm)
        steps += 1
    return steps
