"""The environment in Ray Tune's registry, wrapped so that RLlib's own algorithms can play it."""

from __future__ import annotations

import difflib
import inspect
import multiprocessing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from agents.rllib.menu import ActionMenu
from agents.rllib.tokens import FixedLengthTokens
from zs_env.curriculum import check_whole
from zs_env.env import SimulatedSearchEnv
from zs_env.errors import ConfigError, require

__all__ = ["INSTALL", "WRAPPERS", "SeededByWorker", "make_env", "register_env", "require_rllib"]

INSTALL = 'pip install "zerosearch-env[rllib]"'

WRAPPERS = ("menu", "tokens", "tokens+menu", "none")
"""What `env_config["wrapper"]` may say."""

_OWN = ("wrapper", "menu", "tokens", "seed")


def require_rllib() -> None:
    """Make sure that Ray with RLlib and Tune is there.

    Raises:
        MissingPackageError: It isn't; the message says how to install it.
    """
    for module in ("ray.tune", "ray.rllib"):
        require(module, needed_for="The environment under RLlib", install=INSTALL)


def register_env(name: str = "ZeroSearch-v0", **defaults: Any) -> str:
    """Register the environment with Ray, for `PPOConfig().environment(name, env_config={…})` and Tune.

    Args:
        name: What to call it. Several may be registered, each with defaults of its own.
        defaults: What `env_config` holds unless it says otherwise; see `make_env`.

    Returns:
        The name.

    Raises:
        ConfigError: A default is wrong.
        MissingPackageError: Ray isn't installed.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"The name of an environment is a text that isn't empty; got {name!r}.")
    _check_names(defaults)
    require_rllib()
    from ray import tune

    tune.register_env(name, creator(defaults))
    return name


def creator(defaults: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], gym.Env[Any, Any]]:
    """What Ray calls with an `EnvContext`."""
    return partial(_create, dict(defaults))


def _create(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> gym.Env[Any, Any]:
    if "num_envs" in config:
        raise ConfigError(
            "gym_env_vectorize_mode='vector_entry_point' would bypass the wrappers: leave it out (\"sync\"), or take "
            '"async".'
        )
    return make_env({**defaults, **config}, worker=_worker_of(config))


def make_env(config: Mapping[str, Any] | None = None, *, worker: tuple[int, ...] = ()) -> gym.Env[Any, Any]:
    """Make the environment as RLlib is given it. Needs no Ray.

    Args:
        config: Options of `gym.make("ZeroSearch-v0")`, by name, and
            - "wrapper": "menu" (the default: an `ActionMenu` with numbers to observe), "tokens" (`FixedLengthTokens`;
              actions stay text, for a policy of your own), "tokens+menu" (token ids to observe, a menu of actions), or
              "none" (text both ways);
            - "menu": options of `ActionMenu`, by name;
            - "tokens": options of `FixedLengthTokens`, by name; a box is float32 here unless they say otherwise;
            - "seed": what all draws begin from; see `SeededByWorker`.
        worker: Which of several copies this is.

    Raises:
        ConfigError: An option is unknown or wrong, or belongs to a wrapper that isn't asked for.
    """
    given = dict(config or {})
    _check_names(given)
    wrapper = given.pop("wrapper", "menu")
    menu, tokens, seed = (given.pop(name, None) for name in ("menu", "tokens", "seed"))
    if wrapper not in WRAPPERS:
        raise ConfigError(f"wrapper must be one of {', '.join(map(repr, WRAPPERS))}; got {wrapper!r}.")
    parts = wrapper.split("+")
    for name, options in (("menu", menu), ("tokens", tokens)):
        if options is not None and name not in parts:
            raise ConfigError(
                f"{name}={options!r} is of a wrapper that wrapper={wrapper!r} doesn't have: leave it out."
            )
    import zs_env  # noqa: F401 - a worker may not have registered the environment yet

    env: gym.Env[Any, Any] = gym.make("ZeroSearch-v0", disable_env_checker=True, **given)
    if seed is not None:
        env = SeededByWorker(env, seed, worker)
    if "tokens" in parts:
        options = {"dtype": "float32", **_options(FixedLengthTokens, "tokens", tokens)}
        if options.get("space") == "multi_discrete":
            options["dtype"] = "int32"
        env = FixedLengthTokens(env, **options)
    if "menu" in parts:
        options = _options(ActionMenu, "menu", menu)
        if "tokens" in parts:
            options = {"observation": "passed on", **options}
        env = ActionMenu(env, **options)
    return env


class SeededByWorker(gym.Wrapper[Any, Any, Any, Any]):
    """Gives each copy of an environment draws of its own, the same ones whenever a program is run again.

    The generator is seeded at the first reset, from the seed here, which copy it is, and the seed that the reset brings
    (RLlib gives one if `config.debugging(seed=…)` is set). Without one, later resets go on with it.

    Args:
        env: What is seeded.
        seed: What all copies share.
        worker: Which copy it is, in numbers.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int, worker: tuple[int, ...] = ()) -> None:
        super().__init__(env)
        self.seed, self.worker = check_whole("seed", seed, least=0), worker
        self._is_fresh = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, and seed if this is the first time or a seed is given."""
        if self._is_fresh or seed is not None:
            given = 0 if seed is None else seed + 1  # a list that is longer by zeros alone gives the same
            seed = int(np.random.SeedSequence([self.seed, given], spawn_key=self.worker).generate_state(1)[0])
        self._is_fresh = False
        return self.env.reset(seed=seed, options=options)


def _worker_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Which copy an `EnvContext` is for: its worker's number, and its own among that worker's copies.

    RLlib gives all copies of a worker one context, so they are counted on it; copies in subprocesses are counted by
    Gymnasium, in the names of these.
    """
    index = getattr(config, "vector_index", 0)
    process = multiprocessing.current_process().name
    if process.startswith("Worker<") and process.rpartition("-")[2].isdecimal():
        index += int(process.rpartition("-")[2])
    elif hasattr(config, "worker_index"):
        count: int = getattr(config, "num_zerosearch_envs", 0)
        config.num_zerosearch_envs = count + 1  # type: ignore[attr-defined]
        index += count
    return int(getattr(config, "worker_index", None) or 0), index


def _check_names(given: Mapping[str, Any]) -> None:
    options = [name for name in inspect.signature(SimulatedSearchEnv).parameters if name != "self"]
    known = [*_OWN, *options]
    for name in given:
        if name not in known:
            raise ConfigError(f"env_config has no {name!r}{_perhaps(name, known)}. It has: {', '.join(known)}.")


def _options(wrapper: type, name: str, given: Any) -> dict[str, Any]:
    known = [option for option in inspect.signature(wrapper).parameters if option != "env"]
    if not isinstance(given, Mapping | None):
        raise ConfigError(f"{name} must be a mapping of {wrapper.__name__}'s options to values; got {given!r:.100}.")
    for option in given or {}:
        if option not in known:
            raise ConfigError(
                f"{name} (the options of {wrapper.__name__}) has no {option!r}{_perhaps(option, known)}. It has: "
                f"{', '.join(known)}."
            )
    return dict(given or {})


def _perhaps(name: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
