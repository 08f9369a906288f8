"""What an agent is: a coroutine that plays one question, and what the board says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.leaderboard.agents.game import Game
from zs_env.types import Question

__all__ = ["AgentSpec", "Bound", "Play", "hash_of"]

Play = Callable[[Game], Awaitable[None]]
"""Plays one question: it asks the game's model to write, searches, and gives an answer, or ends without one."""

Bound = Callable[[Question, Sequence[str], np.random.Generator], str]
"""Answers without a model, from what no agent may know: the question with its golden answers, the golden answers of
the set's other questions, and the episode's own randomness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """An agent, as the board knows it.

    Attributes:
        name: What `--agent` and rows call it.
        source: The paper that it is from, with its arXiv number, and where ours differs, in a sentence or two.
        fingerprint: A short hash of the files that it is written in, prompts included.
        searches: Whether it may search.
        needs_model: Whether a language model plays it; False of the bounds.
        takes_callable: Whether a function of one's own, `policy(observation) -> action`, can play it.
        play: How it plays; None of a bound.
        bound: How it answers, if it is one.
    """

    name: str
    source: str
    fingerprint: str
    searches: bool
    needs_model: bool = True
    takes_callable: bool = False
    play: Play | None = None
    bound: Bound | None = None


def hash_of(*files: str) -> str:
    """The fingerprint of an agent, of the source files that hold its prompts and how its answer is read."""
    texts = [Path(file).read_text(encoding="utf-8") for file in files]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
