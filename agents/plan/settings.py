"""What a plan is worked out from: how numbers are kept, what a step plays and learns, and what is assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

__all__ = ["Assumptions", "Dtype", "OptimizerKind", "Precision", "RunShape", "SamplerKind"]

Dtype = Literal["float32", "bfloat16"]
Masters = Literal["float32", "none"]
OldLogprobs = Literal["sampled", "recomputed"]
OptimizerKind = Literal["adamw", "adafactor"]
Packing = Literal["auto", "padded", "packed", "shared"]
SamplerKind = Literal["transformers", "vllm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Bytes of a number.

    Attributes:
        weight: Of a weight, and of an activation.
        gradient: Of a gradient.
        master: Of the float32 copy that is updated beside weights of 16 bits; 0 where there is none.
    """

    weight: int = 4
    gradient: int = 4
    master: int = 0

    @classmethod
    def of(cls, dtype: Dtype, masters: Masters = "float32") -> Precision:
        """Weights of 16 bits have a float32 copy on which gradients add up; or no copy, and gradients of 16 bits.

        Examples:
            >>> Precision.of("bfloat16"), Precision.of("bfloat16", "none")
            (Precision(weight=2, gradient=4, master=4), Precision(weight=2, gradient=2, master=0))
        """
        if dtype not in get_args(Dtype):
            raise ConfigError(f"dtype must be one of {get_args(Dtype)}; got {dtype!r}.")
        if dtype == "float32":
            return cls()
        return cls(weight=2, gradient=2, master=0) if masters == "none" else cls(weight=2, gradient=4, master=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShape:
    """What of a run its memory and time depend on.

    Attributes:
        total_steps: Training steps.
        questions: Questions of a step.
        group_size: Episodes a question.
        prompt_tokens: Tokens of the first observation.
        num_actions: Actions of a mean episode; all but the last search.
        action_tokens: Tokens of a mean action, thought included.
        max_new_tokens: The most tokens of an action.
        document_tokens: Tokens that a search brings.
        max_episode_tokens: The most tokens of an episode.
        micro_batch_tokens: The most tokens that are differentiated at once.
        max_batch_tokens: The most tokens that are generated side by side.
        workers: Threads that generate and differentiate side by side, each with memory of its own.
        num_epochs: How often a rollout is gone through.
        num_updates: Optimizer steps of a rollout.
        evaluation_episodes: Episodes that are played to measure, before and after together.
        has_reference: Whether a frozen copy of the first weights is asked.
        has_critic: Whether there is a critic, as large as the policy without its head.
        dtype: Of the weights.
        optimizer: Which optimizer.
        masters: What takes the updates of weights in bfloat16; see `optimization.Masters`.
        critic_optimizer: The critic's.
        critic_masters: The critic's.
        lora_rank: Of adapters on every matrix inside the layers; 0 where all weights are trained. With adapters, the
            reference is the model without them.
        gradient_checkpointing: Whether each layer is computed again in the backward pass instead of kept.
        packing: How the learner lays episodes; see `policy.Packing`.
        old_logprobs: Whether the learner computes log-probs anew before a step's first update.
        keep_cache: Whether the sampler keeps keys and values from turn to turn, where the model allows it.
        max_cached_tokens: The most tokens of which it does.
        sampler: Which sampler.
        vllm_share: The share of a device's memory that vLLM takes for weights and cache, if it is the sampler.
    """

    total_steps: int
    questions: int
    group_size: int
    prompt_tokens: int
    num_actions: float
    action_tokens: float
    max_new_tokens: int
    document_tokens: float
    max_episode_tokens: int
    micro_batch_tokens: int
    max_batch_tokens: int
    workers: int = 1
    num_epochs: int = 1
    num_updates: int = 1
    evaluation_episodes: int = 0
    has_reference: bool = False
    has_critic: bool = False
    dtype: Dtype = "float32"
    optimizer: OptimizerKind = "adamw"
    masters: Masters = "float32"
    critic_optimizer: OptimizerKind = "adamw"
    critic_masters: Masters = "float32"
    lora_rank: int = 0
    gradient_checkpointing: bool = False
    packing: Packing = "auto"
    old_logprobs: OldLogprobs = "sampled"
    keep_cache: bool = True
    max_cached_tokens: int = 262_144
    sampler: SamplerKind = "transformers"
    vllm_share: float = 0.4

    def __post_init__(self) -> None:
        words = {
            "dtype": Dtype,
            "optimizer": OptimizerKind,
            "masters": Masters,
            "critic_optimizer": OptimizerKind,
            "critic_masters": Masters,
            "packing": Packing,
            "old_logprobs": OldLogprobs,
            "sampler": SamplerKind,
        }
        for name, kind in words.items():
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} must be one of {get_args(kind)}; got {getattr(self, name)!r}.")
        for name in ("questions", "group_size", "max_new_tokens", "max_episode_tokens", "micro_batch_tokens"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("prompt_tokens", "max_batch_tokens", "workers", "num_epochs", "num_updates"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("total_steps", "evaluation_episodes", "lora_rank", "max_cached_tokens"):
            check_whole(name, getattr(self, name), least=0)
        for name, least in (("num_actions", 1), ("action_tokens", 1), ("document_tokens", 0)):
            if not least <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a finite number of at least {least}; got {getattr(self, name)!r}.")

        if not 0 < self.vllm_share <= 1:
            raise ConfigError(f"vllm_share is a share of a whole, so above 0 and at most 1; got {self.vllm_share!r}.")

    @property
    def precision(self) -> Precision:
        """Bytes of a number."""
        return Precision.of(self.dtype, self.masters)

    @property
    def num_episodes(self) -> int:
        """Episodes of a step."""
        return self.questions * self.group_size

    @property
    def policy_tokens(self) -> float:
        """Tokens of a mean episode that the policy wrote."""
        return self.num_actions * self.action_tokens

    @property
    def num_searches(self) -> float:
        """Searches of a mean episode."""
        return max(self.num_actions - 1, 0)

    @property
    def episode_tokens(self) -> float:
        """Tokens of a mean episode."""
        tokens = self.prompt_tokens + self.policy_tokens + self.num_searches * self.document_tokens
        return min(tokens, self.max_episode_tokens)

    def prompt_before(self, action: int) -> float:
        """Tokens before an action, counted from 0."""
        tokens = self.prompt_tokens + action * (self.action_tokens + self.document_tokens)
        return min(tokens, self.max_episode_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What can't be read off the settings. Every one is shown in a plan and may be given.

    Attributes:
        mfu: The share of the hardware's peak that forward and backward passes reach.
        decode_mfu: The same of decoding, where the batch is large enough for the peak to matter at all.
        bandwidth_share: The share of the published memory bandwidth that is reached.
        layer_overhead_us: Microseconds that starting the operations of a layer takes, once a pass.
        pass_overhead_us: Microseconds of a pass beside its layers: drawing tokens, looking for stop strings, Python.
        logit_passes: How often [policy tokens, vocabulary] goes through memory for losses, entropies and gradients.
        longest_action: The longest action of a batch, as a multiple of a mean one (at most max_new_tokens).
        padding: Tokens of a micro-batch with padding, as a multiple of those without.
        actions_share: Actions of a mean episode, as a share of max_turns.
        action_share: Tokens of a mean action, as a share of max_new_tokens.
        chars_per_token: Characters of the prompt that a token holds.
        question_tokens: Tokens of a question, chat template included.
        tokens_per_document: Tokens of a document.
        search_latency_s: Seconds until a search is answered, all at once under way.
        search_overlap: By what the waits of a step are shortened because others are generated meanwhile.
        runtime_gb: What Python and torch take before anything is loaded; on a GPU, its context.
        margin: The share of what was counted that goes lost between allocations.
        simulator_gb: Memory of a simulator on the same device.
    """

    mfu: float
    decode_mfu: float
    bandwidth_share: float
    layer_overhead_us: float
    pass_overhead_us: float
    runtime_gb: float
    search_latency_s: float
    tokens_per_document: float
    logit_passes: float = 20.0
    longest_action: float = 4.0
    padding: float = 1.15
    actions_share: float = 0.6
    action_share: float = 0.25
    chars_per_token: float = 4.0
    question_tokens: float = 25.0
    search_overlap: float = 1.0
    margin: float = 0.1
    simulator_gb: float = 0.0

    def __post_init__(self) -> None:
        may_be_zero = {"simulator_gb", "margin", "search_latency_s", "runtime_gb", "logit_passes"}
        may_be_zero |= {"layer_overhead_us", "pass_overhead_us"}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and name not in may_be_zero):
                raise ConfigError(f"{name} must be a finite number above 0; got {value!r}.")
        for name in ("mfu", "decode_mfu", "bandwidth_share", "actions_share", "action_share"):
            if getattr(self, name) > 1:
                raise ConfigError(f"{name} is a share of a whole, so at most 1; got {getattr(self, name)!r}.")
        for name in ("padding", "longest_action", "search_overlap"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is a multiple of what is least, so at least 1; got {getattr(self, name)!r}.")
