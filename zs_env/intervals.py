"""Confidence intervals of shares, without a dependency."""

from __future__ import annotations

import math

__all__ = ["difference_interval", "wilson_interval"]

_Z = 1.959963984540054  # 97.5 % of the standard normal distribution lies below


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share (1927). (0, 1) if there were no trials.

    Examples:
        >>> tuple(round(end, 4) for end in wilson_interval(8, 10))
        (0.4902, 0.9433)
    """
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, _Z * _Z
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials)) / (1 + square / trials)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def difference_interval(
    successes: float, trials: int, other_successes: float, other_trials: int
) -> tuple[float, float]:
    """Newcombe's 95 % interval of the difference of two independent shares (1998, method 10, from Wilson's).

    (-1, 1) if either had no trials.

    Examples:
        >>> tuple(round(end, 3) for end in difference_interval(56, 70, 48, 80))
        (0.052, 0.334)
    """
    if not trials or not other_trials:
        return -1.0, 1.0
    share, other = successes / trials, other_successes / other_trials
    low, high = wilson_interval(successes, trials)
    other_low, other_high = wilson_interval(other_successes, other_trials)
    difference = share - other
    below = math.hypot(share - low, other_high - other)
    above = math.hypot(high - share, other - other_low)
    return difference - below, difference + above
