"""Which questions a training step or a measurement asks, and how noisy a step's searches are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zs_env.curriculum import Curriculum, check_probability, check_whole
from zs_env.errors import ConfigError
from zs_env.types import Question, QuestionSource

__all__ = ["SPARE_KEY", "NoiseSchedule", "QuestionOrder", "pick_questions"]

_PICK_KEY = 3
_ORDER_KEY = 2
"""Keeps the order's randomness apart from that of training (0) and evaluation (1) episodes."""

SPARE_KEY = 5
"""The order of the questions that replace others, apart from that of those that every step asks."""


def pick_questions(source: QuestionSource, limit: int | None = None) -> list[Question]:
    """The questions of a source, or a sample of `limit` of them that is the same in every run.

    Raises:
        ConfigError: The limit is below 1.
    """
    count = len(source)
    if limit is not None:
        check_whole("limit", limit, least=1)
    if limit is None or limit >= count:
        return [source[index] for index in range(count)]
    order = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(_PICK_KEY,))).permutation(count)
    return [source[index] for index in sorted(order[:limit].tolist())]


class QuestionOrder:
    """A seeded, shuffled pass over a source, then another, without end; no question is ever dropped.

    What a step asks depends on the seed and the step alone, so a run that is resumed asks what it would have asked.

    Args:
        num_questions: How many the source has.
        seed: The run's seed.
        key: Which of the run's orders it is.

    Examples:
        >>> order = QuestionOrder(5, seed=0)
        >>> sorted(order.take(0, 3) + order.take(1, 3)[:2])
        [0, 1, 2, 3, 4]
    """

    def __init__(self, num_questions: int, seed: int, *, key: int = _ORDER_KEY) -> None:
        if num_questions < 1:
            raise ConfigError("There are no questions to train on: the source (or its limit) is empty.")
        self._num_questions = num_questions
        self._seed = seed
        self._key = key
        self._passes: dict[int, list[int]] = {}

    def take(self, step: int, count: int) -> list[int]:
        """The indices of the questions that step `step` asks, each step asking `count`."""
        start = step * count
        return [self._at(place) for place in range(start, start + count)]

    def _at(self, place: int) -> int:
        number, index = divmod(place, self._num_questions)
        if number not in self._passes:
            rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(self._key, number)))
            self._passes = {kept: order for kept, order in self._passes.items() if kept == number - 1} | {
                number: rng.permutation(self._num_questions).tolist()
            }
        return self._passes[number][index]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSchedule:
    """How likely a search of a training step asks for noisy documents.

    Attributes:
        curriculum: It grows over the steps, alike for all questions of a step; or
        mix: the i-th question of a step has the i-th of these, round and round. (0.0,) is no noise at all.
    """

    curriculum: Curriculum | None = None
    mix: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mix", tuple(self.mix))
        if not self.mix:
            raise ConfigError("A noise mix needs at least one probability; got none.")
        for probability in self.mix:
            check_probability("A probability of the noise mix", probability)
        if self.curriculum is not None and self.mix != (0.0,):
            raise ConfigError(f"Give either a curriculum or a noise mix, not both; got {self.mix} beside a curriculum.")

    def probability(self, step: int, index: int) -> float:
        """For the `index`-th question of step `step`."""
        if self.curriculum is not None:
            return self.curriculum.noise_probability(step)
        return self.mix[index % len(self.mix)]
