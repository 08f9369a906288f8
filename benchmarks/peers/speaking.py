"""The programs' side of the talk: a line of JSON in, a line of JSON out.

`describe` tells the versions and the ways to play. `step` plays vector steps of one way and times them. `turn` plays
one search turn of many episodes and times it: what comes before the turn (new episodes, connections closed if they are
to be cold) isn't timed, and neither is the look for each episode's own documents in what it reads.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.fanout_server import allow_many_connections, answer_of

__all__ = ["SEARCHES", "Side", "Turn", "as_action", "check_read", "serve"]

SEARCHES = 4
"""How often an episode searches before it answers, as in `benchmarks.stepping`, which a peer can't import."""


class Turn(Protocol):
    """One search turn of many episodes, again and again."""

    def prepare(self, *, cold: bool) -> None:
        """New episodes; with `cold`, no connection is open."""

    def play(self) -> list[str]:
        """Every episode searches once; returns what each of them reads then, in order."""

    def close(self) -> None:
        """Close connections, end threads."""


class Side(Protocol):
    """What one library can do."""

    def describe(self) -> dict[str, Any]:
        """`{"packages": {name: version}, "steps": {way: what it drives}, "turns": {way: what it drives}}`."""

    def player(self, way: str, num_envs: int) -> Callable[[int], int]:
        """A function that plays so many steps of each environment and returns how many characters it read."""

    def turn(self, way: str, episodes: int, url: str) -> Turn:
        """A turn against the server at `url`."""


def as_action(query: str) -> str:
    """A search, as all of them write it."""
    return f"<think>Ask.</think><search>{query}</search>"


def check_read(text: str, number: int) -> None:
    """See that a policy reads what episode `number` searched for, before anything is timed.

    Raises:
        ValueError: The text doesn't hold it. Peers answer a failed search with text, too, and that costs less.
    """
    if answer_of(number) not in text:
        raise ValueError(f"A search whose documents are ready didn't show them; it showed {text[-300:]!r}.")


def serve(make: Callable[[], Side]) -> None:
    """Answer until the standard input ends.

    Args:
        make: Makes the side; its imports are part of it, so that a failing one is told, too.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    allow_many_connections()
    talk: _Talk | None = None
    for line in sys.stdin:
        try:
            talk = talk or _Talk(make())
            answer = talk.answer(**json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


class _Talk:
    def __init__(self, side: Side) -> None:
        self._side = side
        self._players: dict[tuple[str, int], Callable[[int], int]] = {}
        self._turns: dict[tuple[str, int], Turn] = {}

    def answer(self, do: str, **given: Any) -> dict[str, Any]:
        if do == "describe":
            return self._side.describe() | {"python": ".".join(map(str, sys.version_info[:3]))}
        if do == "step":
            return self._step(**given)
        if do == "turn":
            return self._turn(**given)
        for turn in self._turns.values():
            turn.close()
        self._turns.clear()
        return {}

    def _step(self, way: str, num_envs: int, num_steps: int) -> dict[str, Any]:
        if (way, num_envs) not in self._players:
            self._players[way, num_envs] = self._side.player(way, num_envs)
        play = self._players[way, num_envs]
        gc.collect()
        start, cpu_start = time.perf_counter(), time.process_time()
        characters = play(num_steps)
        return {
            "seconds": time.perf_counter() - start,
            "cpu_s": time.process_time() - cpu_start,
            "characters": characters,
        }

    def _turn(self, way: str, episodes: int, url: str, cold: bool) -> dict[str, Any]:
        if (way, episodes) not in self._turns:
            self._turns[way, episodes] = self._side.turn(way, episodes, url)
        turn = self._turns[way, episodes]
        turn.prepare(cold=cold)
        gc.collect()
        start, cpu_start = time.perf_counter(), time.process_time()
        texts = turn.play()
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
        unread = [text for i, text in enumerate(texts) if answer_of(i) not in text]
        # The end of what an episode reads holds what it found, or why it found nothing.
        said = unread[0][-300:] if unread else None
        return {"seconds": seconds, "cpu_s": cpu_s, "read": len(texts) - len(unread), "said": said}
