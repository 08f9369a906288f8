"""What games are played at: somebody writes, somebody searches."""

from __future__ import annotations

from typing import Protocol

from agents.codec import TextCodec
from agents.samplers.base import ConversationKey, Generation, GenerationRequest
from agents.trajectory import TrajectoryStatus
from zs_env.types import SearchRequest, SearchResult

__all__ = ["GameOver", "Table"]


class GameOver(Exception):  # noqa: N818  # not an error: the way out of an agent's coroutine
    """The question has ended while an agent plays it; agents let it pass.

    Attributes:
        status: How.
        error: What went wrong, if something did that isn't the agent's doing.
    """

    def __init__(self, status: TrajectoryStatus, error: str | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.error = error


class Table(Protocol):
    """Who writes and who searches, for all games at once."""

    @property
    def codec(self) -> TextCodec:
        """Between the texts of games and what the model reads."""

    async def write(self, request: GenerationRequest, stop: tuple[str, ...]) -> Generation:
        """Have the model continue a prompt up to one of these texts, which is included if the model's maker says so."""

    def count(self, request: GenerationRequest, generation: Generation) -> tuple[int, int]:
        """The tokens that a call read and wrote."""

    def forget(self, conversations: list[ConversationKey]) -> None:
        """These are over."""

    async def act(self, observation: str) -> str:
        """The next action of a function that plays."""

    @property
    def is_function(self) -> bool:
        """Whether a function plays, instead of a model."""

    async def search(self, request: SearchRequest) -> SearchResult:
        """Search; a failure is in the result."""
