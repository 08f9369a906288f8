"""From a run's settings to what a plan is worked out from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from agents.config import TrainConfig
from agents.plan.settings import Assumptions, RunShape
from zs_env.errors import ConfigError
from zs_env.prompts import get_prompt

__all__ = ["HARDWARE_NUMBERS", "Reading", "read_assumed", "read_settings"]

HARDWARE_NUMBERS = ("peak_tflops", "bandwidth_gb_s")
"""What of the hardware `--assume` may give."""

_LATENCY_S = {"template": 0.0, "hostile": 0.0, "bm25": 0.01, "dense": 0.02, "wiki": 0.2, "google": 1.0}
_SIMULATED_LATENCY_S = 3.0
"""Five documents of about 50 tokens each, at 100 tokens a second and a little more."""
_TOKENS_PER_DOCUMENT = {"template": 12.0, "hostile": 20.0, "bm25": 140.0, "dense": 140.0, "wiki": 140.0}
"""A sentence, or a passage of 100 words."""
_SIMULATED_DOCUMENT_TOKENS = 60.0
"""Of about 30 words, and its number; also of a snippet of Google's."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read off the settings.

    Attributes:
        run: What memory and time depend on.
        assumptions: What was assumed beside.
        given: Names of both that were given by hand.
    """

    run: RunShape
    assumptions: Assumptions
    given: frozenset[str]


def read_assumed(pairs: list[str], *, more: Iterable[str] = ()) -> dict[str, Any]:
    """`NAME=VALUE` pairs, with values of the types that the fields have; `more` names are known elsewhere.

    Raises:
        ConfigError: A name is unknown, or a value is of another type.
    """
    types = {field.name: str(field.type) for record in (RunShape, Assumptions) for field in fields(record)}
    types |= dict.fromkeys(HARDWARE_NUMBERS, "float")
    assumed: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip()
        if not sign or name not in types:
            raise ConfigError(f"--assume takes NAME=VALUE; got {pair!r}. Names: {', '.join(sorted({*types, *more}))}.")
        assumed[name] = _value(name, text.strip(), types[name])
    return assumed


def _value(name: str, text: str, kind: str) -> Any:
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"--assume {name} must be true or false; got {text!r}.")
        return text.lower() == "true"
    if kind not in ("int", "float"):
        return text  # one of a few words, which the record checks
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        what = "a whole number" if kind == "int" else "a number"
        raise ConfigError(f"--assume {name} must be {what}; got {text!r}.") from None


def read_settings(config: TrainConfig, *, is_gpu: bool, assumed: dict[str, Any] | None = None) -> Reading:
    """What a plan of these settings is worked out from.

    Args:
        config: All settings.
        is_gpu: Whether it is planned for a GPU, where other shares of the peak are reached than on a CPU.
        assumed: Fields of `RunShape` and `Assumptions` by name, in place of what would be read or assumed.
    """
    given = {name: value for name, value in (assumed or {}).items() if name not in HARDWARE_NUMBERS}
    guessed = {field.name for field in fields(Assumptions)}
    sampler = given.get("sampler", config.sampling.sampler)
    defaults = _defaults(config, is_gpu=is_gpu, sampler=sampler)
    assumptions = replace(defaults, **{name: value for name, value in given.items() if name in guessed})
    run = _run_shape(config, assumptions)
    run = replace(run, **{name: value for name, value in given.items() if name not in guessed})
    return Reading(run, assumptions, frozenset(given))


def _defaults(config: TrainConfig, *, is_gpu: bool, sampler: str) -> Assumptions:
    mode = config.search.mode
    searching = {
        "search_latency_s": _LATENCY_S.get(mode, _SIMULATED_LATENCY_S),
        "tokens_per_document": _TOKENS_PER_DOCUMENT.get(mode, _SIMULATED_DOCUMENT_TOKENS),
    }
    if is_gpu:
        return Assumptions(
            mfu=0.4,
            decode_mfu=0.2,
            bandwidth_share=0.7,
            layer_overhead_us=20.0 if sampler == "vllm" else 500.0,
            pass_overhead_us=1000.0,
            runtime_gb=1.0,
            **searching,
        )
    return Assumptions(
        mfu=0.6,
        decode_mfu=0.3,
        bandwidth_share=0.7,
        layer_overhead_us=200.0,
        pass_overhead_us=2000.0,
        runtime_gb=0.5,
        margin=0.15,
        **searching,
    )


def _run_shape(config: TrainConfig, assumptions: Assumptions) -> RunShape:
    training, rollout, evaluation = config.training, config.rollout, config.evaluation
    prompt = len(get_prompt(config.episode.prompt).replace("{question}", "")) / assumptions.chars_per_token
    documents = config.search.topk * assumptions.tokens_per_document
    if config.episode.max_information_chars:
        documents = min(documents, config.episode.max_information_chars / assumptions.chars_per_token)
    measured = len(evaluation.noise) * (1 + evaluation.sampled) * 2
    return RunShape(
        total_steps=training.total_steps,
        questions=training.questions_per_step,
        group_size=training.group_size,
        prompt_tokens=round(prompt + assumptions.question_tokens),
        num_actions=max(config.episode.max_turns * assumptions.actions_share, 1.0),
        action_tokens=max(rollout.max_new_tokens * assumptions.action_share, 1.0),
        max_new_tokens=rollout.max_new_tokens,
        document_tokens=documents,
        max_episode_tokens=rollout.max_episode_tokens,
        micro_batch_tokens=config.learner.micro_batch_tokens,
        max_batch_tokens=config.sampling.max_batch_tokens,
        workers=config.run.workers,
        num_epochs=training.num_epochs,
        num_updates=training.num_minibatches,
        evaluation_episodes=measured * (evaluation.limit or 500),
        has_reference=training.kl_coef > 0,
        has_critic=config.run.algorithm == "ppo",
        dtype=config.model.dtype,  # type: ignore[arg-type]  # the record checks it, and so the following
        optimizer=config.optimizer.kind,
        masters=config.optimizer.masters,
        critic_optimizer=config.critic.kind,
        critic_masters=config.critic.masters,
        lora_rank=config.lora.rank,
        gradient_checkpointing=config.learner.gradient_checkpointing,
        packing=config.learner.packing,
        old_logprobs=training.old_logprobs,
        keep_cache=config.sampling.keep_cache,
        max_cached_tokens=config.sampling.max_cached_tokens,
        sampler=config.sampling.sampler,  # type: ignore[arg-type]
        vllm_share=config.sampling.vllm_options.get("gpu_memory_utilization", 0.4),
    )
