"""What a simulated engine asks: a chat model, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from zs_env.engines.llm.client import ChatClient, ClientSettings
from zs_env.engines.llm.inprocess import InProcessClient, InProcessSettings
from zs_env.engines.llm.replies import ChatReply

__all__ = ["BackendSettings", "ChatBackend", "make_backend"]


@runtime_checkable
class BackendSettings(Protocol):
    """How a model is reached."""

    @property
    def deadline_s(self) -> float:
        """The longest that a search may take with all of its replies."""

    @property
    def identity(self) -> Any:
        """What replies depend on, in plain JSON types: the model."""


@runtime_checkable
class ChatBackend(Protocol):
    """A chat model that can be asked from any number of threads and event loops."""

    @property
    def settings(self) -> BackendSettings:
        """How it is reached."""

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        seed: int,
        options: Mapping[str, Any] | None = None,
        send_seed: bool = True,
        deadline: float | None = None,
    ) -> ChatReply:
        """Ask for one completion.

        Args:
            messages: The chat so far, each with `role` and `content`.
            seed: The draw of this request.
            options: What else stands in the request; those that are None are left out.
            send_seed: Whether the model is told the seed.
            deadline: When it must be over, by `time.monotonic()`.

        Raises:
            ChatError: There is no usable reply.
        """

    async def aclose(self) -> None:
        """Let go of what this event loop holds."""

    def close(self) -> None:
        """Let go of everything, from outside of coroutines."""


def make_backend(given: ClientSettings | InProcessSettings | ChatBackend) -> ChatBackend:
    """The backend of some settings; a backend is taken as it is."""
    if isinstance(given, ClientSettings):
        return ChatClient(given)
    return InProcessClient(given) if isinstance(given, InProcessSettings) else given
