"""`oracle`: the upper bound. It knows, and gives the first golden answer of each question.

It shows that questions, scoring and records are whole: anything below 1 is a defect of the board.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from zs_env.types import Question

__all__ = ["SPEC", "answer"]


def answer(question: Question, others: Sequence[str], draws: np.random.Generator) -> str:
    """The first golden answer."""
    return question.golden_answers[0]


SPEC = AgentSpec(
    name="oracle",
    source="A bound: it gives the first golden answer.",
    fingerprint=hash_of(__file__),
    searches=False,
    needs_model=False,
    bound=answer,
)
