"""Who plays in `eval` and `ask`: a model here, in vLLM, or on a server."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agents.codec import TextCodec
from agents.conversation import RolloutSettings
from agents.samplers.base import SamplingSettings
from zs_env.command_options import search_option
from zs_env.errors import ConfigError

if TYPE_CHECKING:
    from agents.config import TrainConfig
    from agents.policy import Policy
    from agents.samplers.openai import OpenAISampler

__all__ = ["SAMPLERS", "SERVER_FLAGS", "Player", "add_player_flags", "check_player_flags", "load_player"]

SAMPLERS = ("transformers", "vllm", "openai")

SERVER_FLAGS = (
    "policy_url",
    "policy_key_env",
    "policy_api",
    "policy_timeout_s",
    "policy_concurrency",
    "policy_option",
)
"""The flags that belong to --sampler openai."""


@dataclass(frozen=True, kw_only=True)
class Player:
    """A policy that can play.

    Attributes:
        greedy: The sampler that takes the likeliest token.
        drawing: The one that draws.
        codec: What both need.
        rollout: The budgets, in the codec's tokens.
        config: The settings, with the budget cut to the model's context.
        policy: The model, if it is here.
        server: What asks it, if it is on a server.
    """

    greedy: Any
    drawing: Any
    codec: TextCodec
    rollout: RolloutSettings
    config: TrainConfig
    policy: Policy | None = None
    server: OpenAISampler | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of its weights and vocabulary, if they are here."""
        return self.policy.fingerprints() if self.policy is not None else {}

    def record(self) -> dict[str, Any]:
        """What a record says of it; nothing of where a server is."""
        if self.server is None:
            model: dict[str, Any] = self.config.record()["model"]
            return model | {"sampler": self.config.sampling.sampler}
        return {"sampler": "openai", **self.server.record()}

    def close(self) -> None:
        """Let go of a model, or of connections."""
        getattr(self.greedy, "close", lambda: None)()


def add_player_flags(command: argparse.ArgumentParser) -> None:
    """Add --sampler, and what belongs to a server that plays."""
    group = command.add_argument_group("who plays")
    add = group.add_argument
    add("--sampler", choices=SAMPLERS, default="transformers", help="who generates (transformers)")
    add(
        "--policy-url",
        metavar="URL",
        help="openai: the server that plays, for example http://127.0.0.1:8000/v1 (--base-url is the simulator's); "
        "--model is then its name there, and may be left out if it serves one",
    )
    add("--policy-key-env", metavar="NAME", help="openai: the environment variable that holds the server's key")
    add("--policy-api", metavar="API", help="openai: chat, or completions for a base model (chat)")
    add("--policy-timeout-s", type=float, metavar="S", help="openai: the longest that a turn's one try may take (600)")
    add("--policy-concurrency", type=int, metavar="N", help="openai: turns that are asked for at the same time (64)")
    add(
        "--policy-option",
        action="append",
        type=search_option,
        metavar="NAME=VALUE",
        help="openai: what else stands in each request, for example top_k=20; may be given several times",
    )


def check_player_flags(options: argparse.Namespace) -> None:
    """Refuse flags of a server where none plays, and a server that isn't named.

    Raises:
        ConfigError: See above.
    """
    given = [f"--{name.replace('_', '-')}" for name in SERVER_FLAGS if getattr(options, name) is not None]
    if options.sampler != "openai":
        if given:
            raise ConfigError(
                f"{', '.join(given)} is for a server that plays, and --sampler is {options.sampler}: leave it out, or "
                "give --sampler openai."
            )
    elif options.policy_url is None:
        raise ConfigError(
            "--sampler openai needs --policy-url, the address of the server that plays (--base-url is the simulator's)."
        )


def load_player(options: argparse.Namespace, config: TrainConfig, say: Callable[[str], None]) -> Player:
    """Load what --sampler names.

    Args:
        options: The flags.
        config: The settings, of flags and of the checkpoint.
        say: Is told what a user should know.

    Raises:
        ConfigError: A flag is wrong, or episodes may be longer than the model's context.
        ModelError: The model can't be loaded.
        MissingPackageError: A package is missing.
    """
    if options.sampler == "openai":
        return _on_a_server(options, config)
    from agents.assembly import load_model

    policy = load_model(config, config.model.path, base=config.model.base, say=say)
    config = config.fitted(policy.max_context_tokens, say)
    policy.check_context(config.rollout.max_episode_tokens)
    settings = SamplingSettings(greedy=True)
    if options.sampler == "vllm":
        from agents.samplers.vllm import VllmSampler

        config = replace(config, sampling=replace(config.sampling, sampler="vllm"))
        greedy: Any = VllmSampler(policy, settings, **config.vllm_sampler_options)
    else:
        greedy = policy.sampler(settings)
    drawing = greedy.with_settings(SamplingSettings())
    return Player(
        greedy=greedy, drawing=drawing, codec=policy.codec, rollout=config.rollout, config=config, policy=policy
    )


def _on_a_server(options: argparse.Namespace, config: TrainConfig) -> Player:
    from agents.samplers.openai import CHARACTERS_PER_TOKEN, OpenAISampler
    from zs_env.engines.llm.client import ClientSettings

    timeout_s = 600.0 if options.policy_timeout_s is None else options.policy_timeout_s
    server = ClientSettings(
        base_url=options.policy_url,
        model=options.model,
        api_key_env=options.policy_key_env,
        timeout_s=timeout_s,
        deadline_s=6 * timeout_s,
        max_connections=64 if options.policy_concurrency is None else options.policy_concurrency,
    )
    sampler = OpenAISampler(
        server,
        SamplingSettings(greedy=True),
        api=options.policy_api or "chat",
        options=dict(options.policy_option or ()),
    )
    scaled = replace(
        config.rollout,
        max_new_tokens=config.rollout.max_new_tokens * CHARACTERS_PER_TOKEN,
        max_episode_tokens=config.rollout.max_episode_tokens * CHARACTERS_PER_TOKEN,
    )
    return Player(
        greedy=sampler,
        drawing=sampler.with_settings(SamplingSettings()),
        codec=sampler.codec,
        rollout=scaled,
        config=config,
        server=sampler,
    )
