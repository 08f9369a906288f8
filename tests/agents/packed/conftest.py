from __future__ import annotations

import random

import pytest

from agents.trajectory import TokenSegment, Trajectory


def make_trajectory(rng: random.Random, prompt: list[int], group: int, turns: int, vocabulary: int = 272) -> Trajectory:
    """An episode of random tokens: the policy's turns with the environment's between them."""

    def draw(most: int) -> tuple[int, ...]:
        return tuple(rng.randrange(vocabulary) for _ in range(rng.randint(1, most)))

    segments = [TokenSegment("prompt", tuple(prompt), "")]
    for turn in range(turns):
        said = draw(7)
        segments.append(TokenSegment("policy", said, "", tuple(rng.uniform(-3, -0.1) for _ in said)))
        if turn < turns - 1 or rng.random() < 0.3:
            segments.append(TokenSegment("environment", draw(9), ""))
    return Trajectory(
        question_id=f"q{group}", question="?", golden_answers=("x",), group=group, segments=segments, status="answered"
    )


@pytest.fixture
def episodes() -> list[Trajectory]:
    """Three groups with a prompt each, of sizes 4, 3 and 1, in a mixed order."""
    rng = random.Random(3)
    prompts = [[rng.randrange(272) for _ in range(length)] for length in (11, 6, 8)]
    made = [
        make_trajectory(rng, prompts[group], group, rng.randint(1, 3))
        for group, size in ((0, 4), (1, 3), (2, 1))
        for _ in range(size)
    ]
    rng.shuffle(made)
    return made
