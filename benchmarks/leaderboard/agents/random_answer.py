"""`random`: the lower bound. An answer to another question of the set, drawn evenly.

It shows what is had for knowing nothing but what answers look like: above 0 where few answers are shared by many
questions, as yes and no of HotpotQA are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from zs_env.types import Question

__all__ = ["SPEC", "answer"]

_NOTHING = "unknown"


def answer(question: Question, others: Sequence[str], draws: np.random.Generator) -> str:
    """One of the other questions' first golden answers; "unknown" where there is no other question."""
    return others[int(draws.integers(len(others)))] if others else _NOTHING


SPEC = AgentSpec(
    name="random",
    source="A bound: it gives the golden answer of another question of the set, drawn evenly.",
    fingerprint=hash_of(__file__),
    searches=False,
    needs_model=False,
    bound=answer,
)
