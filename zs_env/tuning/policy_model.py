"""A language model as the policy: on any server of OpenAI's protocol, or in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zs_env.actions import STOP_STRINGS, parse_action
from zs_env.engines.llm.client import combine_seed
from zs_env.episode import Segment
from zs_env.tuning.models import AskedModel
from zs_env.tuning.policies import Turn

__all__ = ["ModelPolicy", "as_messages", "with_stop_string"]


class ModelPolicy:
    """Plays with the episode's prompt as the first message, and documents as the user's next ones.

    Args:
        model: The model.
    """

    draws = True

    def __init__(self, model: AskedModel) -> None:
        self._model = model

    @property
    def identity(self) -> dict[str, Any]:
        """The model, and how it is sampled."""
        return self._model.identity

    async def act(self, turn: Turn) -> str:
        """Ask for the next action.

        Raises:
            ChatError: There is no usable reply.
        """
        options = self._model.options(stop=list(STOP_STRINGS))
        seed = combine_seed(turn.seed, 0)
        reply = await self._model.backend.chat(as_messages(turn.segments), seed=seed, options=options)
        return reply.text if reply.cut else with_stop_string(reply.text)

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._model.backend.aclose()


def as_messages(segments: Sequence[Segment]) -> list[dict[str, str]]:
    """A transcript as a chat: what the policy wrote is the assistant's, all else the user's."""
    return [
        {"role": "assistant" if segment.provenance == "policy" else "user", "content": segment.text}
        for segment in segments
    ]


def with_stop_string(text: str) -> str:
    """An action with the closing tag at which a server stopped, and which most servers leave out.

    Examples:
        >>> with_stop_string("<think>hm</think><search>capital of France"), with_stop_string("I don't know")
        ('<think>hm</think><search>capital of France</search>', "I don't know")
    """
    for stop in ("", *STOP_STRINGS):
        if parse_action(text + stop).kind != "invalid":
            return text + stop
    return text
