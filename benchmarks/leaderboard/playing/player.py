"""Who plays for the board: a model here, a model on a server, a function of one's own, or nobody, for the bounds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.codec import CharacterCodec, TextCodec
from agents.conversation import RolloutSettings
from agents.players import add_player_flags, check_player_flags, load_player
from agents.samplers.base import Sampler, SamplingSettings
from agents.samplers.openai import CHARACTERS_PER_TOKEN
from benchmarks.leaderboard.agents.registry import AGENTS, find_agent
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError, ServiceError
from zs_env.tuning.policies import BUILT_IN, make_policy

if TYPE_CHECKING:
    from agents.policy import Policy
    from agents.samplers.openai import OpenAISampler

__all__ = ["BoardPlayer", "add_board_player_flags", "load_board_player"]

_NOBODY = "none"


@dataclass(frozen=True, kw_only=True)
class BoardPlayer:
    """Whoever plays.

    Attributes:
        model_name: What to call it, without this machine's folders; None if nobody is needed.
        codec: Between text and what it reads.
        sampler_maker: Makes what writes, from how it draws and where it stops; None of a function, and of nobody.
        function: `policy(observation) -> action`, plain or async, if that is what plays.
        train_engine: The search mode that the policy was trained with, "none" if that isn't known.
        episode_settings: The rules that were asked for; of what wasn't, those that it was trained by.
        rollout_settings: The budgets likewise, in tokens.
        details: What a record says of it.
        fingerprints: Of its weights and vocabulary, or of the function's code.
        closer: Lets go of it.
    """

    model_name: str | None = None
    codec: TextCodec = field(default_factory=CharacterCodec)
    sampler_maker: Callable[[SamplingSettings], Sampler] | None = None
    function: Callable[[str], Any] | None = None
    train_engine: str = _NOBODY
    episode_settings: EpisodeSettings = field(default_factory=EpisodeSettings)
    rollout_settings: RolloutSettings = field(default_factory=RolloutSettings)
    details: Callable[[], Mapping[str, Any]] = dict
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    closer: Callable[[], None] = lambda: None

    @property
    def characters_per_token(self) -> int:
        """How many of the codec's tokens stand for one: 1 of a model's own, 4 where they are characters."""
        return CHARACTERS_PER_TOKEN if isinstance(self.codec, CharacterCodec) else 1

    @property
    def identity(self) -> dict[str, Any]:
        """What its texts depend on, beside the prompt and how it draws."""
        details = {name: value for name, value in self.details().items() if name not in ("usage", "served_as")}
        return {"name": self.model_name, "fingerprints": dict(self.fingerprints), "details": details}

    def sampler(self, settings: SamplingSettings) -> Sampler:
        """What writes, with these settings.

        Raises:
            ConfigError: It isn't a language model.
        """
        if self.sampler_maker is None:
            raise ConfigError(f"{self.model_name or 'Nobody'} can't write text: name a model.")
        return self.sampler_maker(settings)

    def check(self, agent: str) -> None:
        """Refuse an agent that it can't play.

        Raises:
            ConfigError: There is no such agent, or it needs a model and there is none.
        """
        spec = find_agent(agent)
        if self.function is not None and not spec.takes_callable and spec.needs_model:
            able = ", ".join(name for name, other in AGENTS.items() if other.takes_callable)
            raise ConfigError(
                f"A function plays by observation and action, so it can't be the agent {agent!r}: take {able}."
            )
        if spec.needs_model and self.function is None and self.sampler_maker is None:
            raise ConfigError(
                f"The agent {agent!r} needs a model: give --model, or --sampler openai --policy-url, or --callable."
            )

    def record(self) -> dict[str, Any]:
        """What a record says of it, in plain JSON types: nothing of this machine, and nothing of where a server is."""
        return dict(self.details())

    def close(self) -> None:
        """Let go of a model, or of connections."""
        self.closer()

    @classmethod
    def of_policy(cls, policy: Policy, *, name: str, **others: Any) -> BoardPlayer:
        """A model that is in this process."""
        return cls(
            model_name=name,
            codec=policy.codec,
            sampler_maker=policy.sampler,
            fingerprints=policy.fingerprints(),
            **others,
        )


def add_board_player_flags(parser: argparse.ArgumentParser) -> None:
    """Add --agent, --model, --callable, and what belongs to a server that plays."""
    group = parser.add_argument_group("what is evaluated")
    add = group.add_argument
    add("--agent", nargs="+", required=True, choices=list(AGENTS), metavar="NAME", help=", ".join(AGENTS))
    add("--model", metavar="MODEL", help="a folder in Hugging Face format, a run's folder, an id of the hub, smollm2")
    add(
        "--callable",
        metavar="WHERE:NAME",
        help="instead of a model: a function policy(observation) -> action, as module:function or path.py:function",
    )
    add("--base-model", metavar="MODEL", help="of adapters (LoRA): the model that they were trained over")
    add("--dtype", metavar="NAME", help="type of the weights: float32, bfloat16 or float16 (the checkpoint's)")
    add("--device", metavar="DEVICE", help="auto (a GPU if torch sees one), cpu, cuda or cuda:1")
    add("--threads", type=int, metavar="N", help="threads that torch computes with")
    add("--trust-remote-code", action="store_true", default=None, help="let code that comes with the model run here")
    add("--prompt", metavar="PROMPT", help="of the agent zerosearch: default, short, upstream, or a text of one's own")
    add_player_flags(parser)


_FLAGS = {
    "model": ("model", "source"),
    "base_model": ("model", "base"),
    "dtype": ("model", "dtype"),
    "trust_remote_code": ("model", "trust_remote_code"),
    "device": ("run", "device"),
    "threads": ("run", "threads"),
    "prompt": ("episode", "prompt"),
    "max_turns": ("episode", "max_turns"),
    "topk": ("search", "topk"),
    "max_new_tokens": ("rollout", "max_new_tokens"),
    "max_episode_tokens": ("rollout", "max_episode_tokens"),
}
"""Flags to settings; those that the caller's parser doesn't have count as not given."""


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def load_board_player(options: argparse.Namespace, say: Callable[[str], None] = _tell) -> BoardPlayer:
    """Load what the flags name.

    Beside those of `add_board_player_flags`, it heeds `--topk`, `--max-turns`, `--max-new-tokens` and
    `--max-episode-tokens` if the parser has them.

    Args:
        options: The flags.
        say: Is told what a user should know.

    Raises:
        ConfigError: A flag is wrong, or an agent can't be played by what was named.
        ModelError: The model can't be loaded.
        MissingPackageError: A package is missing.
    """
    check_player_flags(options)
    player = _load(options, say)
    for agent in options.agent:
        player.check(agent)
    return player


def _load(options: argparse.Namespace, say: Callable[[str], None]) -> BoardPlayer:
    on_a_server = options.sampler == "openai"
    if options.callable is not None and (options.model is not None or on_a_server):
        raise ConfigError("--callable is a policy of its own: leave out --model and --sampler openai, or leave it out.")
    has_model = options.model is not None or on_a_server
    from agents.config import ModelConfig, load_config
    from agents.runs import read_checkpoint_settings

    sections: dict[str, dict[str, Any]] = {}
    if options.model is not None and not on_a_server:
        sections = read_checkpoint_settings(Path(ModelConfig(source=options.model).path))
    search = sections.pop("search", {})
    sections["search"] = {"topk": search["topk"]} if "topk" in search else {}
    for flag, (section, key) in _FLAGS.items():
        value = getattr(options, flag, None)
        if value is not None:
            sections[section] = sections.get(section, {}) | {key: value}
    if not has_model or options.model is None:
        sections["model"] = sections.get("model", {}) | {"source": "server" if on_a_server else _NOBODY}
    config = load_config(sections, origin="flags or the checkpoint's settings")
    rules: dict[str, Any] = {
        "episode_settings": config.episode.settings(config.search.topk),
        "rollout_settings": config.rollout,
        "train_engine": str(search.get("mode", _NOBODY)),
    }
    if options.callable is not None:
        return _function_player(options.callable, rules)
    if not has_model:
        return BoardPlayer(**rules)
    return _model_player(options, config, rules, say)


def _name_of(source: str, shown: str) -> str:
    """A checkpoint by its run, for every run's is called `checkpoint`."""
    path = Path(source)
    if shown == "checkpoint" and path.exists():
        return path.absolute().parent.name or shown
    return shown


def _function_player(where: str, rules: dict[str, Any]) -> BoardPlayer:
    if where in BUILT_IN or ":" not in where:
        raise ConfigError(f"--callable {where!r} names no function: give module:function or path.py:function.")
    policy: Any = make_policy(where, flag="--callable")
    name, fingerprint = policy.identity["name"], policy.identity["fingerprint"]
    return BoardPlayer(
        model_name=name,
        function=policy._function,
        details=lambda: {"callable": name},
        fingerprints={} if fingerprint is None else {"function": fingerprint},
        **rules,
    )


def _model_player(
    options: argparse.Namespace, config: Any, rules: dict[str, Any], say: Callable[[str], None]
) -> BoardPlayer:
    if options.sampler != "openai":
        _prepare_torch(config.run.threads)
    player = load_player(options, config, say)
    if player.server is not None:
        server = player.server
        return BoardPlayer(
            model_name=options.model.rstrip("/").rpartition("/")[2] if options.model else _served_by(server),
            codec=player.codec,
            sampler_maker=server.with_settings,
            details=player.record,
            closer=player.close,
            **rules,
        )
    policy = player.policy
    assert policy is not None
    options_of_sampler = player.config.sampler_options

    def make(settings: SamplingSettings) -> Sampler:
        if options.sampler == "vllm":
            sampler: Sampler = player.greedy.with_settings(settings)
        else:
            sampler = policy.sampler(settings, **options_of_sampler)
        return sampler

    return BoardPlayer(
        model_name=_name_of(player.config.model.source, player.config.model.shown),
        codec=player.codec,
        sampler_maker=make,
        details=player.record,
        fingerprints=player.fingerprints,
        closer=player.close,
        **(rules | {"rollout_settings": player.config.rollout}),
    )


def _served_by(server: OpenAISampler) -> str:
    """What a server calls its model: two models mustn't be one row, whose records would be taken for one another's."""
    try:
        return server.model_name()
    except ServiceError as error:
        server.close()
        raise ConfigError(
            f"Name the model with --model, or mend this, so that its server tells its name: {error}"
        ) from error


def _prepare_torch(threads: int | None) -> None:
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)
