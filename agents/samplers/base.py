"""What every sampler speaks: token ids in, token ids out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from zs_env.actions import STOP_STRINGS
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ConversationKey",
    "FinishReason",
    "Generation",
    "GenerationRequest",
    "PublishedSampler",
    "RememberingSampler",
    "Sampler",
    "SamplingSettings",
    "StreamingSampler",
    "submit_all",
]

ConversationKey = tuple[int, ...]
"""What tells conversations apart; see `conversation.EpisodeTask.key`."""

FinishReason = Literal["stop", "eos", "length"]
"""Why a generation ended: a stop string, the model's own end-of-turn token, or the budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One continuation that is wanted.

    Attributes:
        prompt_ids: Everything before it, never empty.
        seed: Where its randomness comes from, alone, in [0, 2**64): what else is in the batch changes nothing.
        max_new_tokens: The most tokens to sample, at least 1.
        conversation: Whose turn it is. A sampler may keep what it computed for earlier turns of a conversation, whose
            prompts this one's continues; None for a request of its own.
    """

    prompt_ids: Sequence[int]
    seed: int
    max_new_tokens: int
    conversation: ConversationKey | None = None

    def __post_init__(self) -> None:
        if not len(self.prompt_ids):
            raise ConfigError("prompt_ids is empty: a continuation needs at least one token to continue.")
        check_whole("max_new_tokens", self.max_new_tokens, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One continuation.

    Attributes:
        ids: The ids as sampled, an end-of-turn token included.
        logprobs: The natural log of the probability of each, under the distribution that it was drawn from. A greedy
            sampler gives the model's own, at temperature 1, and can't be trained on.
        finish_reason: Why it ended.
        weight_version: The version of the weights that wrote it.
        text: What the ids say, without a final end-of-turn token that isn't (part of) a stop string.
        usage: The tokens that the call read and wrote, where a server counts them and ids are no tokens.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    weight_version: int
    text: str
    usage: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """How tokens are drawn.

    Attributes:
        temperature: What logits are divided by, above 0.
        greedy: Take the likeliest token instead of drawing. For evaluation.
        top_p: Draw from the smallest set of tokens that holds this much probability. Below 1 for evaluation only.
        top_k: Draw from this many likeliest tokens; 0 for all. Above 0 for evaluation only.
        stop_strings: Where a text ends, the stop string included.
    """

    temperature: float = 1.0
    greedy: bool = False
    top_p: float = 1.0
    top_k: int = 0
    stop_strings: tuple[str, ...] = STOP_STRINGS

    def __post_init__(self) -> None:
        if not (isinstance(self.temperature, (int, float)) and 0 < self.temperature < math.inf):
            raise ConfigError(
                f"temperature must be a finite number above 0; got {self.temperature!r}. For the likeliest token, set "
                "greedy."
            )
        if not (isinstance(self.top_p, (int, float)) and 0 < self.top_p <= 1):
            raise ConfigError(f"top_p must be above 0 and at most 1; got {self.top_p!r}.")
        check_whole("top_k", self.top_k, least=0)
        if isinstance(self.stop_strings, str) or not all(self.stop_strings):
            raise ConfigError(f"stop_strings must be a tuple of texts that aren't empty; got {self.stop_strings!r}.")

    def check_for_training(self) -> None:
        """Refuse what makes the policy-gradient ratio wrong.

        Raises:
            ConfigError: The tokens would not be drawn from the distribution that the learner computes.
        """
        wrong = {"greedy": self.greedy, "top_p": self.top_p < 1, "top_k": self.top_k > 0}
        if any(wrong.values()):
            names = " and ".join(name for name, is_wrong in wrong.items() if is_wrong)
            raise ConfigError(
                f"Training can't sample with {names}: the learner's log-probs are of the whole distribution, so the "
                "ratio would be biased. Use these for evaluation, and temperature alone for training."
            )


@runtime_checkable
class Sampler(Protocol):
    """Whatever continues token ids."""

    @property
    def weight_version(self) -> int:
        """The version of the weights that the next generation is written with."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Continue every prompt: one generation a request, in order.

        It may be called from any thread, one call at a time.
        """


@runtime_checkable
class RememberingSampler(Sampler, Protocol):
    """A sampler that keeps something of each conversation, until it is told that it has ended."""

    def forget(self, conversations: Collection[ConversationKey]) -> None:
        """Let go of what is kept of these; of others than it knows nothing is to be done.

        It may be called from any thread at any time, also while `generate` is at work.
        """


@runtime_checkable
class StreamingSampler(Sampler, Protocol):
    """A sampler that takes requests one by one, and works on those that are there side by side.

    A rollout lets each episode go on as its own generation is done, and waits for no other.
    """

    def submit(self, request: GenerationRequest) -> Future[Generation]:
        """Ask for one continuation; it returns at once.

        It may be called from any thread at any time. A future that is cancelled is no longer worked on.

        Returns:
            The generation, or what went wrong with this request alone; a `ZeroSearchError` that isn't a `ServiceError`
            says that no request can go well.
        """


def submit_all(sampler: StreamingSampler, requests: Sequence[GenerationRequest]) -> list[Generation]:
    """`Sampler.generate` of a sampler that takes requests one by one: all side by side; if one fails, none goes on."""
    futures = [sampler.submit(request) for request in requests]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


@runtime_checkable
class PublishedSampler(Sampler, Protocol):
    """A sampler with a copy of the weights, which has to be given new ones."""

    def publish_weights(self, named_tensors: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Take new weights, by their names in Hugging Face format.

        Requests that are under way end with the old weights and those that come later have the new ones, so that each
        generation has one version.
        """

    def close(self) -> None:
        """Let go of its model."""
