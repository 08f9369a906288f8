"""A language model as the policy: any server of OpenAI's protocol, or a model in this process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from zs_env.actions import STOP_STRINGS, parse_action
from zs_env.engines.llm.backend import ChatBackend
from zs_env.engines.llm.client import combine_seed
from zs_env.episode import Segment
from zs_env.tuning.policies import Turn

__all__ = ["ModelPolicy", "as_messages", "with_stop_string"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPolicy:
    """Plays with the project's prompt as the first message, and documents as the user's next ones.

    Attributes:
        backend: How the model is asked.
        name: What the model is called in records.
        temperature: Of sampling; None leaves it to the server.
        max_tokens: The longest action.
        extra: What else stands in each request.
    """

    backend: ChatBackend
    name: str
    temperature: float | None = 1.0
    max_tokens: int = 500
    extra: Mapping[str, Any] = field(default_factory=dict)
    draws: ClassVar[bool] = True

    @property
    def identity(self) -> dict[str, Any]:
        """The model, and how it is sampled."""
        asked = json.dumps(self.backend.settings.identity, default=repr).encode()
        sampling = {"temperature": self.temperature, "max_tokens": self.max_tokens, "extra": dict(self.extra)}
        return {"name": self.name, "fingerprint": hashlib.sha256(asked).hexdigest()[:16], **sampling}

    async def act(self, turn: Turn) -> str:
        """Ask for the next action.

        Raises:
            ChatError: The server gave no usable reply.
        """
        options = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": list(STOP_STRINGS)}
        reply = await self.backend.chat(
            as_messages(turn.segments), seed=combine_seed(turn.seed, 0), options={**options, **self.extra}
        )
        return reply.text if reply.cut else with_stop_string(reply.text)

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self.backend.aclose()


def as_messages(segments: Sequence[Segment]) -> list[dict[str, str]]:
    """A transcript as a chat: what the policy wrote is the assistant's, all else the user's."""
    return [
        {"role": "assistant" if segment.provenance == "policy" else "user", "content": segment.text}
        for segment in segments
    ]


def with_stop_string(text: str) -> str:
    """An action with the closing tag at which a server stopped, and which most leave out.

    Examples:
        >>> with_stop_string("<think>hm</think><search>capital of France"), with_stop_string("I don't know")
        ('<think>hm</think><search>capital of France</search>', "I don't know")
    """
    for stop in ("", *STOP_STRINGS):
        if parse_action(text + stop).kind != "invalid":
            return text + stop
    return text
