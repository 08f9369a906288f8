"""Policies that say what they are told to: for tests, demonstrations and `ask` without a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from agents.codec import TextCodec
from agents.samplers.base import Generation, GenerationRequest, SamplingSettings
from agents.samplers.stepping import Ended

__all__ = ["ScriptedEngine", "ScriptedSampler"]


class ScriptedSampler:
    """Emits given texts through a tokenizer.

    Args:
        codec: How texts become ids.
        script: The texts, one an action: a sequence, of which the n-th call of *each conversation* gives the n-th text
            (the last one is repeated), or a function from everything said so far to the next text.
        logprob: The log-prob that each token is said to have been drawn with.
    """

    def __init__(
        self, codec: TextCodec, script: Sequence[str] | Callable[[str], str], *, logprob: float = -1.0
    ) -> None:
        self.codec = codec
        self.weight_version = 0
        self.requests: list[GenerationRequest] = []
        self._script = script
        self._logprob = logprob
        self._told: dict[tuple[int, ...], int] = {}

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Say the next text of the script for every prompt."""
        return [self._say(request) for request in requests]

    def _say(self, request: GenerationRequest) -> Generation:
        self.requests.append(request)
        before = tuple(request.prompt_ids)
        if callable(self._script):
            text = self._script(self.codec.decode(before))
        else:
            # The longest conversation that this prompt continues tells how many texts it has had.
            turn = max(
                (count for said, count in self._told.items() if before[: len(said)] == said),
                default=0,
            )
            text = self._script[min(turn, len(self._script) - 1)]
        whole = self.codec.encode(text)
        ids = tuple(whole[: request.max_new_tokens])
        if not callable(self._script):
            self._told[before + ids] = turn + 1
        return Generation(
            ids=ids,
            logprobs=(self._logprob,) * len(ids),
            finish_reason="stop" if len(ids) == len(whole) else "length",
            weight_version=self.weight_version,
            text=self.codec.decode(ids),
        )


class ScriptedEngine:
    """A `StepEngine` that says what it is told to, a token of each request a step.

    Args:
        codec: How texts become ids.
        script: From everything said so far to the next text.
        logprob: The log-prob that each token is said to have been drawn with.

    Attributes:
        events: What happened, in order: `("add", key)`, `("end", key)`, `("drop", key)`, `("load", names)` and
            `("close",)`.
    """

    def __init__(self, codec: TextCodec, script: Callable[[str], str], *, logprob: float = -1.0) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._codec = codec
        self._script = script
        self._logprob = logprob
        self._left: dict[str, tuple[list[int], list[int], int]] = {}

    def add(self, key: str, request: GenerationRequest, settings: SamplingSettings) -> None:
        """Look up what to say."""
        self.events.append(("add", key))
        text = self._script(self._codec.decode(list(request.prompt_ids)))
        self._left[key] = ([], self._codec.encode(text), request.max_new_tokens)

    def step(self) -> list[tuple[str, Ended | Exception]]:
        """Say a token of each."""
        ended: list[tuple[str, Ended | Exception]] = []
        for key, (said, left, most) in list(self._left.items()):
            said.append(left.pop(0))
            if left and len(said) < most:
                continue
            del self._left[key]
            self.events.append(("end", key))
            logprobs = (self._logprob,) * len(said)
            ended.append((key, Ended(ids=tuple(said), logprobs=logprobs, finish_reason="length" if left else "stop")))
        return ended

    def drop(self, keys: Collection[str]) -> None:
        """Say no more of these."""
        for key in keys:
            self.events.append(("drop", key))
            self._left.pop(key, None)

    def load(self, named_tensors: Iterable[tuple[str, Any]]) -> None:
        """Note which weights came."""
        self.events.append(("load", [name for name, _ in named_tensors]))

    def close(self) -> None:
        """Note that it is over."""
        self.events.append(("close",))
