"""The environment under RLlib's own algorithms and Ray Tune.

RLlib's algorithms want spaces of a fixed shape, and this environment speaks text. `ActionMenu` makes a discrete menu of
its actions, `FixedLengthTokens` a fixed number of token ids of its observations, and `register_env` puts the wrapped
environment into Ray's registry:

    from agents.rllib import register_env
    register_env("ZeroSearch-v0")
    config = PPOConfig().environment("ZeroSearch-v0", env_config={"noise_probability": 0.5})

This is for small policies and for trying algorithms out. Language models are trained by `python -m agents train`.

Importing this imports neither ray nor torch; both wrappers work without them.
"""

from agents.rllib.menu import ActionMenu
from agents.rllib.playing import BASELINES, by_hand, one_search, play, uniform
from agents.rllib.registration import make_env, register_env
from agents.rllib.tokens import FixedLengthTokens

__all__ = [
    "BASELINES",
    "ActionMenu",
    "FixedLengthTokens",
    "by_hand",
    "make_env",
    "one_search",
    "play",
    "register_env",
    "uniform",
]
