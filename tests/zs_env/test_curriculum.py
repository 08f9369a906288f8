from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.curriculum import Curriculum, make_curriculum
from zs_env.errors import ConfigError

probability = st.floats(0, 1)


def test_the_papers_curve() -> None:
    """0.25 to 0.5 over 203 steps with base 4, from the formula by hand."""
    curriculum = Curriculum(start=0.25, end=0.5, total_steps=203)
    for step in (0, 1, 50, 101, 152, 202, 203):
        by_hand = 0.25 + (4 ** (step / 203) - 1) / 3 * 0.25
        assert curriculum.noise_probability(step) == pytest.approx(by_hand, abs=1e-12)
    # half-way, a third of the way up: (4^0.5 - 1) / 3 = 1/3
    assert Curriculum(start=0.0, end=0.6, total_steps=10).noise_probability(5) == pytest.approx(0.2)


def test_past_the_end_it_stays_at_the_end() -> None:
    assert Curriculum(start=0.1, end=0.4, total_steps=3).noise_probability(10**9) == 0.4


@given(probability, probability, st.integers(1, 500), st.floats(0.01, 100), st.integers(0, 600))
def test_it_moves_from_start_to_end_and_never_outside(
    start: float, end: float, total: int, base: float, step: int
) -> None:
    curriculum = Curriculum(start=start, end=end, total_steps=total, base=base)
    values = [curriculum.noise_probability(at) for at in (0, step, step + 1, total)]
    assert values[0] == pytest.approx(start)
    assert values[-1] == pytest.approx(end)
    assert min(start, end) - 1e-12 <= values[1] <= max(start, end) + 1e-12
    assert (values[2] - values[1]) * (end - start) >= -1e-12


def test_base_one_is_the_straight_line() -> None:
    line = Curriculum(start=0.0, end=1.0, total_steps=4, base=1.0)
    assert [line.noise_probability(step) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1.0]
    near = Curriculum(start=0.0, end=1.0, total_steps=4, base=1.0 + 1e-12)
    assert near.noise_probability(1) == pytest.approx(0.25)


def test_numpy_steps_are_whole_numbers_too() -> None:
    assert Curriculum(start=0.0, end=1.0, total_steps=4).noise_probability(np.int64(4)) == 1.0


@pytest.mark.parametrize(
    "bad",
    [
        {"start": -0.1, "end": 0.5, "total_steps": 5},
        {"start": 0.1, "end": 1.5, "total_steps": 5},
        {"start": math.nan, "end": 0.5, "total_steps": 5},
        {"start": 0.1, "end": 0.5, "total_steps": 0},
        {"start": 0.1, "end": 0.5, "total_steps": 2.5},
        {"start": 0.1, "end": 0.5, "total_steps": 5, "base": 0},
        {"start": 0.1, "end": 0.5},
        {"start": 0.1, "end": 0.5, "total_steps": 5, "speed": 2},
        "fast",
    ],
)
def test_bad_curricula_are_refused(bad: object) -> None:
    with pytest.raises(ConfigError):
        make_curriculum(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [-1, 1.5, True, "3"])
def test_bad_steps_are_refused(step: object) -> None:
    with pytest.raises(ConfigError, match="training_step"):
        Curriculum(start=0.0, end=1.0, total_steps=4).noise_probability(step)  # type: ignore[arg-type]


def test_a_mapping_makes_a_curriculum() -> None:
    assert make_curriculum({"start": 0.25, "end": 0.5, "total_steps": 203}) == Curriculum(
        start=0.25, end=0.5, total_steps=203, base=4.0
    )
    assert make_curriculum(None) is None
