from __future__ import annotations

import pytest

from zs_env.measuring.figures import mean_figure, ratio_interval


def test_intervals_of_ratios() -> None:
    low, high = ratio_interval([(0, 1), (1, 1)] * 50) or [0, 0]
    assert low == pytest.approx(0.40, abs=0.02)  # 0.5 ± 1.96 · 0.05
    assert high == pytest.approx(0.60, abs=0.02)
    assert ratio_interval([(1, 2)]) is None
    assert ratio_interval([(1, 0), (2, 0)]) is None


def test_means_of_questions() -> None:
    assert mean_figure([]) == {"value": None, "n": 0, "ci": None}
    assert mean_figure([1.0]) == {"value": 1.0, "n": 1, "ci": None}
    figure = mean_figure([1.0, -1.0] * 50)
    assert (figure["value"], figure["n"]) == (0.0, 100)
    assert figure["ci"] == pytest.approx([-0.196, 0.196], abs=0.03)  # 1.96 · 1 / √100
