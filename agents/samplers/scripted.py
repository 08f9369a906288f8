"""A policy that says what it is told to: for tests, demonstrations and `ask` without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agents.codec import TextCodec
from agents.samplers.base import Generation, GenerationRequest

__all__ = ["ScriptedSampler"]


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
