"""What is played: one question of one set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from zs_env.types import Question

__all__ = ["BoardTask"]

_BOARD_KEY = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardTask:
    """A question that is to be played.

    Attributes:
        set: The name of the set that it is of.
        index: Its place among the set's played questions, from 0.
        question: The question.
        noise_probability: The chance that a search asks for noisy documents.
    """

    set: str
    index: int
    question: Question
    noise_probability: float = 0.0

    @property
    def key(self) -> tuple[int, ...]:
        """Where its randomness comes from, with the run's seed: equal for every agent and every order."""
        number = int.from_bytes(hashlib.sha256(self.set.encode()).digest()[:4], "big")
        return (_BOARD_KEY, number, self.index)
