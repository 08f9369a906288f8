"""The picture of bars."""

from __future__ import annotations

import re

import pytest

from benchmarks.simulator.picture import draw


def test_an_interval_that_goes_past_one_has_its_place() -> None:
    figure = {"value": 1.1, "ci": [0.9, 1.5], "n": 9}
    bar = {"title": "similarity", "least": 0.8, "most": None, "figure": figure, "met": True}
    drawn = draw([{"name": "one", "bars": [bar]}])
    low, high = map(float, re.search(r'class="i" x1="([\d.]+)" x2="([\d.]+)"', drawn).groups())
    dot = float(re.search(r'class="d" cx="([\d.]+)"', drawn).group(1))
    assert (dot - low) / (high - dot) == pytest.approx(0.2 / 0.4, rel=0.02)
