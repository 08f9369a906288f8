"""What a long build says while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["Progress", "Say", "say_to_stderr"]

Say = Callable[[str], None]
"""Takes a line for the user."""


def say_to_stderr(line: str) -> None:
    """Write a line to stderr at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Progress:
    """Counts what is done, and says every few seconds how far it is.

    Args:
        what: What is being done, as a phrase: `"indexing"`.
        total: How much there is to do; None if that isn't known.
        say: Takes the lines.
        every_s: Seconds between two lines.
        clock: The time in seconds.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        say: Say,
        *,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._total = total
        self._say = say
        self._every_s = every_s
        self._clock = clock
        self._began = self._said = clock()
        self.done = 0

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def add(self, number: int = 1) -> None:
        """Count more passages."""
        self.done += number
        now = self._clock()
        if now - self._said >= self._every_s:
            self._said = now
            self._say(self.line())

    def line(self) -> str:
        """How far it is."""
        rate = self.done / max(self.seconds, 1e-9)
        if self._total is None:
            return f"{self._what}: {self.done:,} passages, {rate:,.0f} a second"
        left = (self._total - self.done) / max(rate, 1e-9)
        return f"{self._what}: {self.done:,} of {self._total:,} passages, {rate:,.0f} a second, {left:,.0f} s left"
