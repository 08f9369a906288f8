"""The flags of the commands, and the settings that those of `train` give.

Nothing here imports torch before a flag needs it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zs_env.command_options import add_search_option
from zs_env.errors import ConfigError

if TYPE_CHECKING:
    from agents.config_files import Layer

__all__ = ["FLAGS", "PLAYING_FLAGS", "add_playing_flags", "add_train_flags", "origin_of", "sections_of"]

FLAGS: dict[str, tuple[str, str]] = {
    "algorithm": ("run", "algorithm"),
    "executor": ("run", "executor"),
    "num_learners": ("scale", "num_learners"),
    "num_samplers": ("scale", "num_samplers"),
    "gpus_per_learner": ("scale", "gpus_per_learner"),
    "gpus_per_sampler": ("scale", "gpus_per_sampler"),
    "address": ("scale", "address"),
    "max_staleness": ("scale", "max_staleness"),
    "sampler_timeout_s": ("scale", "sampler_timeout_s"),
    "learner_timeout_s": ("scale", "learner_timeout_s"),
    "num_simulators": ("scale", "num_simulators"),
    "gpus_per_simulator": ("scale", "gpus_per_simulator"),
    "seed": ("run", "seed"),
    "threads": ("run", "threads"),
    "device": ("run", "device"),
    "checkpoint_every": ("run", "checkpoint_every"),
    "keep_checkpoints": ("run", "keep_checkpoints"),
    "save_trajectories_every": ("run", "save_trajectories_every"),
    "model": ("model", "source"),
    "dtype": ("model", "dtype"),
    "trust_remote_code": ("model", "trust_remote_code"),
    "base_model": ("model", "base"),
    "lora_rank": ("lora", "rank"),
    "lora_alpha": ("lora", "alpha"),
    "questions": ("questions", "source"),
    "split": ("questions", "split"),
    "limit": ("questions", "limit"),
    "search_mode": ("search", "mode"),
    "simulation_llm": ("search", "simulation_llm"),
    "base_url": ("search", "base_url"),
    "check": ("search", "check"),
    "search_option": ("search", "options"),
    "topk": ("search", "topk"),
    "cache": ("search", "cache"),
    "record": ("search", "record"),
    "replay": ("search", "replay"),
    "tries": ("search", "tries"),
    "deadline_s": ("search", "deadline_s"),
    "timeout_s": ("search", "timeout_s"),
    "max_in_flight": ("search", "max_in_flight"),
    "breaker": ("search", "breaker"),
    "budget_requests": ("search", "budget_requests"),
    "budget_tokens": ("search", "budget_tokens"),
    "budget_cost": ("search", "budget_cost"),
    "budget_file": ("search", "budget_file"),
    "start_threshold": ("noise", "start_threshold"),
    "end_threshold": ("noise", "end_threshold"),
    "max_turns": ("episode", "max_turns"),
    "prompt": ("episode", "prompt"),
    "reward": ("episode", "reward"),
    "max_new_tokens": ("rollout", "max_new_tokens"),
    "max_episode_tokens": ("rollout", "max_episode_tokens"),
    "temperature": ("sampling", "temperature"),
    "max_batch_tokens": ("sampling", "max_batch_tokens"),
    "sampler": ("sampling", "sampler"),
    "total_steps": ("training", "total_steps"),
    "questions_per_step": ("training", "questions_per_step"),
    "group_size": ("training", "group_size"),
    "num_minibatches": ("training", "num_minibatches"),
    "num_epochs": ("training", "num_epochs"),
    "clip_low": ("training", "clip_low"),
    "clip_high": ("training", "clip_high"),
    "aggregation": ("training", "aggregation"),
    "constant_tokens": ("training", "constant_tokens"),
    "importance": ("training", "importance"),
    "old_logprobs": ("training", "old_logprobs"),
    "importance_cap": ("training", "importance_cap"),
    "overlong_tokens": ("training", "overlong_tokens"),
    "overlong_buffer_tokens": ("training", "overlong_buffer_tokens"),
    "kl_coef": ("training", "kl_coef"),
    "kl_estimator": ("training", "kl_estimator"),
    "entropy_coef": ("training", "entropy_coef"),
    "std": ("grpo", "std"),
    "dynamic_sampling_rounds": ("grpo", "dynamic_sampling_rounds"),
    "gamma": ("ppo reinforce", "gamma"),
    "lam": ("ppo", "lam"),
    "value_warmup_steps": ("ppo", "value_warmup_steps"),
    "critic_learning_rate": ("critic", "learning_rate"),
    "critic_warmup_steps": ("critic", "warmup_steps"),
    "baseline": ("reinforce", "baseline"),
    "learning_rate": ("optimizer", "learning_rate"),
    "warmup_steps": ("optimizer", "warmup_steps"),
    "optimizer": ("optimizer", "kind"),
    "masters": ("optimizer", "masters"),
    "micro_batch_tokens": ("learner", "micro_batch_tokens"),
    "packing": ("learner", "packing"),
    "gradient_checkpointing": ("learner", "gradient_checkpointing"),
    "keep_cache": ("sampling", "keep_cache"),
    "alarm_action": ("alarm", "action"),
    "eval_questions": ("evaluation", "source"),
    "eval_split": ("evaluation", "split"),
    "eval_limit": ("evaluation", "limit"),
}
"""Flag of `train` to section and key; of several sections, that of the algorithm that is run."""

PLAYING_FLAGS = (
    "trust_remote_code",
    "base_model",
    "search_mode",
    "simulation_llm",
    "base_url",
    "check",
    "search_option",
    "topk",
    "cache",
    "record",
    "replay",
    "tries",
    "deadline_s",
    "timeout_s",
    "max_in_flight",
    "breaker",
    "budget_requests",
    "budget_tokens",
    "budget_cost",
    "budget_file",
    "max_turns",
    "prompt",
    "max_new_tokens",
    "max_episode_tokens",
    "threads",
    "device",
    "seed",
)
"""The flags that `eval` and `ask` have as well, with the same meaning."""

_BASE_HELP = "of adapters (LoRA): the model that they were trained over, if it isn't where it was"
_DEVICE_HELP = "auto (a GPU if torch sees one), cpu, cuda or cuda:1"


def _add_search_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--search-mode", metavar="MODE", help="who answers searches, for example template")
    add("--simulation-llm", metavar="MODEL", help="the model that plays the search engine, where the mode takes one")
    add("--base-url", metavar="URL", help="the server of that model; smollm2 or a .gguf file runs here without one")
    add("--check", action=argparse.BooleanOptionalAction, default=None, help="check a simulator's documents, or don't")
    add_search_option(add)
    add("--topk", type=int, metavar="N", help="documents a search")
    add("--cache", metavar="FILE", help="keep what was found in this file, and search nothing twice")
    add("--record", metavar="FILE", help="write all searches into this file")
    add("--replay", metavar="FILE", help="answer searches from such a file, without the engine")
    add("--tries", type=int, metavar="N", help="the most tries of a search (1)")
    add("--deadline-s", type=float, metavar="S", help="the most seconds of a search, all its tries included")
    add("--timeout-s", type=float, metavar="S", help="the most seconds of a try")
    add("--max-in-flight", type=int, metavar="N", help="the most searches at the same time")
    add("--breaker", type=int, metavar="N", help="let the engine rest after N failed searches in a row")
    add("--budget-requests", type=int, metavar="N", help="stop once so many searches were made")
    add("--budget-tokens", type=int, metavar="N", help="stop once the engine reports so many tokens")
    add("--budget-cost", type=float, metavar="C", help="stop once the engine reports such a cost")
    add("--budget-file", metavar="FILE", help="count the budget on in this file, over restarts and runs")


def _add_episode_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--max-turns", type=int, metavar="N", help="actions an episode")
    add("--prompt", metavar="PROMPT", help="default, short, or a text with {question} in it")
    add("--max-new-tokens", type=int, metavar="N", help="the most tokens of one action")
    add("--max-episode-tokens", type=int, metavar="N", help="the most tokens of an episode")


def _add_machine_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--seed", type=int, metavar="N", help="where all randomness comes from")
    add("--threads", type=int, metavar="N", help="threads that torch computes with")
    add("--device", metavar="DEVICE", help=_DEVICE_HELP)


def _add_trust(add: Callable[..., object]) -> None:
    add(
        "--trust-remote-code",
        action="store_true",
        default=None,
        help="let code that comes with the model run here; off unless asked for, whatever a checkpoint says",
    )


def add_playing_flags(command: argparse.ArgumentParser, *, model_help: str) -> None:
    """Add `PLAYING_FLAGS` and `--model`, in groups."""
    command.add_argument("--model", metavar="MODEL", help=model_help)
    command.add_argument("--base-model", metavar="MODEL", help=_BASE_HELP)
    _add_trust(command.add_argument)
    _add_search_flags(command.add_argument_group("search"))
    _add_episode_flags(command.add_argument_group("episodes"))
    _add_machine_flags(command.add_argument_group("machine"))


def add_train_flags(train: argparse.ArgumentParser) -> None:
    """Add the flags of `train`, in groups."""
    train.usage = f"{train.prog} [--preset NAME] [--config FILE] [--algorithm NAME] [other flags]"
    add = train.add_argument_group("where settings come from").add_argument
    add("--preset", metavar="NAME", help="a named run to start from, for example quickstart; other flags change it")
    add("--config", type=Path, metavar="FILE", help="settings in TOML, over those of the preset; other flags change it")

    add = train.add_argument_group("what is trained").add_argument
    add("--algorithm", metavar="NAME", help="grpo, ppo or reinforce")
    add(
        "--model",
        metavar="MODEL",
        help="the policy to start from: a folder in Hugging Face format, a run's folder, an id of the hub, or smollm2",
    )
    add("--dtype", metavar="NAME", help="type of the weights: float32, or bfloat16 over float32 masters (float32)")
    _add_trust(add)

    add("--base-model", metavar="MODEL", help=_BASE_HELP)
    add("--lora-rank", type=int, metavar="R", help="train factors of this rank beside frozen weights (0: no LoRA)")
    add("--lora-alpha", type=float, metavar="A", help="what they are scaled with, divided by the rank (twice the rank)")

    add = train.add_argument_group("questions").add_argument
    add("--questions", metavar="SOURCE", help="atlas, a jsonl, json, csv or parquet file, or hf:<id>")
    add("--split", metavar="NAME", help="the split that is trained on")
    add("--limit", type=int, metavar="N", help="train on a fixed sample of this many questions")
    add("--eval-questions", metavar="SOURCE", help="what is measured on, if it isn't a split of what is trained on")
    add("--eval-split", metavar="NAME", help="the split that is measured on")
    add("--eval-limit", type=int, metavar="N", help="measure on a fixed sample of this many questions")

    group = train.add_argument_group("search")
    _add_search_flags(group)
    group.add_argument("--start-threshold", type=float, metavar="P", help="chance of noisy documents at the first step")
    group.add_argument("--end-threshold", type=float, metavar="P", help="chance of noisy documents at the last step")

    group = train.add_argument_group("episodes")
    _add_episode_flags(group)
    group.add_argument("--temperature", type=float, metavar="T", help="of sampling")
    group.add_argument("--reward", metavar="NAME", help="em, f1 or containment")

    add = train.add_argument_group("learning").add_argument
    add("--total-steps", type=int, metavar="N", help="training steps")
    add("--questions-per-step", type=int, metavar="N", help="questions of a step")
    add("--group-size", type=int, metavar="N", help="episodes a question")
    add("--learning-rate", type=float, metavar="R", help="the highest learning rate")
    add("--warmup-steps", type=int, metavar="N", help="steps over which it rises from 0")
    add("--num-minibatches", type=int, metavar="N", help="optimizer steps that a step's groups are split into")
    add("--num-epochs", type=int, metavar="N", help="how often a step's episodes are gone through")
    add("--clip-low", type=float, metavar="E", help="how far below 1 a ratio is clipped")
    add("--clip-high", type=float, metavar="E", help="how far above 1 a ratio is clipped")
    add("--aggregation", metavar="NAME", help="how tokens share the loss: token_mean, sequence_mean or constant")
    add("--constant-tokens", type=int, metavar="N", help="what constant divides by, beside the number of episodes")
    add("--importance", metavar="NAME", help="what a ratio is of: token, sequence or sequence_token")
    add("--old-logprobs", metavar="NAME", help="what a ratio compares with: sampled or recomputed log-probs")
    add("--importance-cap", type=float, metavar="C", help="correct for the sampler, by a factor of at most C; 0: don't")
    add("--overlong-tokens", type=int, metavar="N", help="past so many policy tokens an episode's reward is 1 less")
    add("--overlong-buffer-tokens", type=int, metavar="N", help="over how many tokens before that the penalty grows")
    add("--kl-coef", type=float, metavar="C", help="weight of the KL penalty towards the first weights")
    add("--kl-estimator", metavar="NAME", help="k1, k2 or k3, of a penalty in the loss")
    add("--entropy-coef", type=float, metavar="C", help="weight of an entropy bonus")
    add("--alarm-action", metavar="ACTION", help="what a sign of collapse does: warn or stop (warn)")

    add = train.add_argument_group("learning, by algorithm").add_argument
    add("--std", metavar="NAME", help="grpo: what advantages are divided by: sample, population or none")
    add("--dynamic-sampling-rounds", type=int, metavar="N", help="grpo: how often groups of equal rewards are replaced")
    add("--lam", type=float, metavar="L", help="ppo: λ of generalized advantage estimation")
    add("--critic-learning-rate", type=float, metavar="R", help="ppo: the critic's highest learning rate")
    add("--critic-warmup-steps", type=int, metavar="N", help="ppo: steps over which it rises from 0")
    add("--value-warmup-steps", type=int, metavar="N", help="ppo: steps in which the critic alone learns")
    add("--gamma", type=float, metavar="G", help="ppo, reinforce: what the next token's value or return counts")
    add("--baseline", metavar="NAME", help="reinforce: leave_one_out, group_mean, batch_mean or none")

    group = train.add_argument_group("machine")
    _add_machine_flags(group)
    add = group.add_argument
    add("--num-gpus", type=int, metavar="N", help="another way to say --device: 0 is cpu, 1 is cuda")
    add("--micro-batch-tokens", type=int, metavar="N", help="the most tokens that are differentiated at once")
    add("--packing", metavar="NAME", help="how episodes are laid out: auto, padded, packed or shared (auto)")
    add(
        "--gradient-checkpointing",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="make activations again in the backward pass: less memory, more time",
    )
    add("--optimizer", metavar="NAME", help="adamw or adafactor, which keeps next to nothing (adamw)")
    add("--masters", metavar="NAME", help="what takes updates of bfloat16 weights: float32 or none (float32)")
    add(
        "--keep-cache",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="keep keys and values of a conversation from turn to turn, or don't",
    )
    add("--max-batch-tokens", type=int, metavar="N", help="the most tokens that are generated side by side")
    add("--sampler", metavar="NAME", help="who generates: transformers or vllm (transformers)")

    add = train.add_argument_group("scale").add_argument
    add("--executor", metavar="NAME", help="where the work is done: local, in this process, or ray (local)")
    add("--num-learners", type=int, metavar="N", help="ray: processes that weights and optimizer are sharded over (1)")
    add("--num-samplers", type=int, metavar="N", help="ray: processes that play episodes (1)")
    add("--gpus-per-learner", type=float, metavar="G", help="ray: 0, 1 or a part of one (1 where --device is a GPU)")
    add("--gpus-per-sampler", type=float, metavar="G", help="ray: the same of samplers; above 1 for vllm over several")
    add("--address", metavar="ADDRESS", help="ray: a running cluster; auto: any on this machine (one is started)")
    add("--max-staleness", type=int, metavar="K", help="ray: play ahead, with the weights of K steps before (0)")
    add("--sampler-timeout-s", type=float, metavar="S", help="ray: when a sampler counts as hanging (1800)")
    add("--learner-timeout-s", type=float, metavar="S", help="ray: when learners count as hanging (1800)")
    add("--num-simulators", type=int, metavar="N", help="ray: servers of --simulation-llm to start for the run (0)")
    add("--gpus-per-simulator", type=int, metavar="G", help="ray: GPUs of each (1)")

    add = train.add_argument_group("what is kept").add_argument
    add(
        "--run-name",
        metavar="NAME",
        help="the run's folder in --runs; if left out, the name of the config file, preset or algorithm",
    )
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the folder of all runs (runs)")
    add("--checkpoint-every", type=int, metavar="N", help="save a checkpoint every N steps (10); 0: at the end alone")
    add("--keep-checkpoints", type=int, metavar="N", help="how many of the newest checkpoints stay (1)")
    add("--resume", action="store_true", help="go on with the run --run-name from its newest checkpoint")
    add("--save-trajectories-every", type=int, metavar="N", help="keep some episodes of every N-th step; 0 for none")
    add("--overwrite", action="store_true", help="replace a run of the same name")
    add("--json", type=Path, metavar="FILE", help="write the summary there too")


def sections_of(options: argparse.Namespace, *, say: Callable[[str], None] | None = None) -> dict[str, dict[str, Any]]:
    """The settings of a run: those of flags over those of --config over those of --preset.

    Args:
        options: The parsed flags of `train`.
        say: Is told of a warm-up that gives way to a shorter run; nothing if left out.
    """
    from agents.config import merge_layers

    return merge_layers(_layers_of(options), say=say)


def origin_of(options: argparse.Namespace) -> str:
    """What to call these settings in errors."""
    return ", ".join(layer.origin for layer in _layers_of(options) if layer.sections) or "flags"


def _layers_of(options: argparse.Namespace) -> list[Layer]:
    from agents.config_files import Layer, algorithm_of, read_file, read_preset

    layers = read_preset(options.preset) if options.preset else []
    layers += read_file(options.config) if options.config else []
    # A run that goes on has its algorithm from its own folder.
    algorithm = options.algorithm or algorithm_of(layers, default="" if options.resume else None)
    given: dict[str, dict[str, Any]] = {}
    for flag, (sections, key) in FLAGS.items():
        value = getattr(options, flag, None)
        if value is not None:
            given.setdefault(_section_of(flag, sections.split(), algorithm), {})[key] = value
    if options.num_gpus is not None:
        given.setdefault("run", {})["device"] = _device_of(options.num_gpus, options.device)
    return [*layers, Layer(origin="flags", sections=given)]


def _section_of(flag: str, sections: list[str], algorithm: str) -> str:
    """Where a flag belongs; of those that algorithms own, the one of the algorithm that is run."""
    from agents.config_sections import ALGORITHMS

    owners = {section: owner for owner, owned in ALGORITHMS.items() for section in owned if section in sections}
    if not owners or algorithm not in ALGORITHMS:  # an unknown algorithm is an error that is told later
        return sections[0]
    for section, owner in owners.items():
        if owner == algorithm:
            return section
    raise ConfigError(
        f"--{flag.replace('_', '-')} is a flag of {' and '.join(owners.values())}, and this run's algorithm is "
        f"{algorithm}: leave it out, or choose --algorithm {next(iter(owners.values()))}."
    )


def _device_of(num_gpus: int, device: str | None) -> str:
    from agents.devices import device_of_gpus

    if device is not None:
        raise ConfigError(f"--num-gpus {num_gpus} and --device {device} say the same thing twice: give one of them.")
    return device_of_gpus(num_gpus)
