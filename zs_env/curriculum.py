"""How the chance of a noisy document grows over training (ZeroSearch, arXiv 2505.04588, equation 2)."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from zs_env.errors import ConfigError

__all__ = ["Curriculum", "check_probability", "check_whole", "make_curriculum"]


def check_probability(name: str, value: object) -> float:
    """Return `value` as a float in [0, 1], or raise a ConfigError that names it."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) <= 1.0:
        raise ConfigError(f"{name} must be a number between 0 and 1; got {value!r}.")
    return float(value)


def check_whole(name: str, value: object, *, least: int) -> int:
    """Return `value` as an int of at least `least`, or raise a ConfigError that names it."""
    try:
        number = operator.index(value) if not isinstance(value, bool) else None  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    return number


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """The noise probability at each training step: p_i = p_s + (b^(i/m) - 1) / (b - 1) * (p_e - p_s).

    With base 4 it starts gently and ends steeply. Base 1 is the formula's limit, a straight line.

    Attributes:
        start: p_s, the probability at step 0, in [0, 1].
        end: p_e, the probability at `total_steps` and after, in [0, 1]. It may be below `start`.
        total_steps: m, at least 1.
        base: b, above 0.

    Examples:
        >>> paper = Curriculum(start=0.25, end=0.5, total_steps=203)
        >>> [round(paper.noise_probability(step), 4) for step in (0, 101, 203, 999)]
        [0.25, 0.3328, 0.5, 0.5]
    """

    start: float
    end: float
    total_steps: int
    base: float = 4.0

    def __post_init__(self) -> None:
        check_probability("curriculum start", self.start)
        check_probability("curriculum end", self.end)
        check_whole("curriculum total_steps", self.total_steps, least=1)
        if isinstance(self.base, bool) or not isinstance(self.base, (int, float)) or not 0 < self.base < math.inf:
            raise ConfigError(f"curriculum base must be a finite number above 0; got {self.base!r}.")

    def noise_probability(self, step: int) -> float:
        """The probability that a search of training step `step` asks for noisy documents, in [0, 1].

        Args:
            step: The training step, counted from 0; past the end it stays at the end.

        Raises:
            ConfigError: The step is negative or not a whole number.
        """
        progress = min(check_whole("training_step", step, least=0) / self.total_steps, 1.0)
        # expm1 keeps precision near base 1, where both numerator and denominator vanish.
        growth = math.log(self.base)
        share = math.expm1(progress * growth) / math.expm1(growth) if growth else progress
        value = self.start + share * (self.end - self.start)
        return min(max(value, 0.0), 1.0)


def make_curriculum(curriculum: Curriculum | Mapping[str, Any] | None) -> Curriculum | None:
    """Turn the `curriculum` option (a mapping of `Curriculum`'s fields, or one) into a curriculum.

    Raises:
        ConfigError: A field is unknown, missing or out of its range.
    """
    if curriculum is None or isinstance(curriculum, Curriculum):
        return curriculum
    known = {field.name for field in fields(Curriculum)}
    if not isinstance(curriculum, Mapping):
        raise ConfigError(f"curriculum must be a mapping with {sorted(known)}; got {curriculum!r}.")
    unknown, missing = set(curriculum) - known, known - {"base"} - set(curriculum)
    if unknown or missing:
        raise ConfigError(
            f"curriculum takes start, end, total_steps and, if wanted, base; unknown: {sorted(map(str, unknown))}, "
            f"missing: {sorted(missing)}."
        )
    return Curriculum(**curriculum)
