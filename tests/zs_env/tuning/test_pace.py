"""How far a training is, and the learning rate there."""

from __future__ import annotations

import pytest

from zs_env.tuning.pace import Pace


def pace_of(clock: list[float], *, budget_s: float | None = 100.0, total_steps: int = 1000) -> Pace:
    pace = Pace(total_steps=total_steps, budget_s=budget_s, warmup=0.1, schedule="linear", now=lambda: clock[0])
    pace.start()
    return pace


def test_the_rate_falls_with_the_clock_where_that_is_further() -> None:
    clock = [0.0]
    pace = pace_of(clock)
    clock[0] = 55.0
    pace.tick(pace.read_clock())
    assert pace.factor(1) == pytest.approx(0.5)  # (0.55 - 0.1) / 0.9 is past
    assert pace.factor(899) < 0.12  # steps are further


def test_it_stops_before_the_step_that_would_end_too_late() -> None:
    clock = [0.0]
    pace = pace_of(clock)
    for seconds in (40.0, 80.0):
        clock[0] = seconds
        pace.tick(pace.read_clock())
        assert pace.is_time_up == (seconds == 80.0)  # 40 s a step: the third would end at 120


def test_the_clock_goes_on_where_it_was_stopped() -> None:
    clock = [1000.0]
    pace = Pace(total_steps=10, budget_s=100.0, warmup=0.0, schedule="linear", elapsed_s=60.0, now=lambda: clock[0])
    pace.start()
    clock[0] = 1010.0
    pace.tick(pace.read_clock())
    assert pace.elapsed_s == pytest.approx(70.0)
    assert pace.step_s == pytest.approx(10.0)


def test_without_a_budget_steps_alone_count() -> None:
    pace = pace_of([0.0], budget_s=None, total_steps=4)
    pace.tick(1e9)
    assert not pace.is_time_up
    assert [pace.factor(step) for step in range(4)] == pytest.approx(
        [1 - (s - 0.1) / 0.9 for s in (0.125, 0.375, 0.625, 0.875)]
    )


def test_schedules() -> None:
    made = {
        schedule: Pace(total_steps=2, budget_s=None, warmup=0.5, schedule=schedule).factor(1)  # type: ignore[arg-type]
        for schedule in ("linear", "cosine", "constant")
    }
    assert made == pytest.approx({"linear": 0.5, "cosine": 0.5, "constant": 1.0})
