"""How far an evaluation is, told on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from benchmarks.leaderboard.episodes import PlayedEpisode

__all__ = ["Progress", "say"]

_EVERY_S = 10.0


def say(line: str) -> None:
    """Tell a line on stderr."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """Counts episodes as they end, and tells of them now and then.

    Args:
        name: Who plays on what.
        total: Questions that are to be played.
        tell: Is given each line.
        clock: Seconds.
        every_s: Seconds between two lines.
    """

    def __init__(
        self,
        name: str,
        total: int,
        *,
        tell: Callable[[str], None] = say,
        clock: Callable[[], float] = time.perf_counter,
        every_s: float = _EVERY_S,
    ) -> None:
        self._name, self._total, self._tell, self._clock, self._every_s = name, total, tell, clock, every_s
        self._began = self._told = clock()
        self._num = self._failed = 0
        self._matches = 0.0
        self._lock = threading.Lock()

    def add(self, episode: PlayedEpisode) -> None:
        """Count an episode that ended; from any thread."""
        with self._lock:
            self._num += 1
            self._failed += episode.failed
            self._matches += 0.0 if episode.failed else episode.exact_match
            now = self._clock()
            if self._num < self._total and now - self._told < self._every_s:
                return
            self._told = now
            line = self._line(now - self._began)
        self._tell(line)

    def _line(self, seconds: float) -> str:
        played = self._num - self._failed
        match = f", exact match {self._matches / played:.3f}" if played else ""
        failed = f", {self._failed} failed" if self._failed else ""
        left = self._total - self._num
        rate = self._num / seconds if seconds > 0 else 0.0
        wait = f", about {_duration(left / rate)} left" if left and rate else f", {_duration(seconds)}"
        return f"{self._name}: {self._num} of {self._total} questions{match}{failed}{wait}"


def _duration(seconds: float) -> str:
    """So many seconds, as people say it.

    Examples:
        >>> _duration(4.2), _duration(200), _duration(9000)
        ('4 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
