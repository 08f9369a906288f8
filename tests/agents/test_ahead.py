"""Episodes of coming steps are played with the weights that are due, in order."""

from __future__ import annotations

import threading

import pytest

from agents.ahead import PlayAhead
from agents.errors import RolloutError
from agents.rollout import RolloutResult

LIMIT_S = 30.0


class Pinned:
    """Plays at once, and keeps what it played with which weights; it waits before those steps that it should."""

    def __init__(self, *, wait_before: int | None = None, fail_at: int | None = None) -> None:
        self.version: int | None = None
        self.played: list[tuple[int, int | None]] = []
        self.goes_on = threading.Event()
        self.changed = threading.Condition()
        self._wait_before, self._fail_at = wait_before, fail_at

    def pin(self, weight_version: int | None) -> None:
        self.version = weight_version

    def play(self, step: int) -> RolloutResult:
        if step == self._wait_before:
            assert self.goes_on.wait(LIMIT_S)
        if step == self._fail_at:
            raise RolloutError(f"step {step} failed")
        with self.changed:
            self.played.append((step, self.version))
            self.changed.notify_all()
        return RolloutResult(trajectories=[], total_s=float(step))

    def until_played(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.played) >= count, LIMIT_S)


def ahead_of(executor: Pinned, staleness: int, *, first: int = 0, total: int = 6) -> PlayAhead:
    return PlayAhead(executor.play, executor, max_staleness=staleness, first_step=first, total_steps=total)


@pytest.mark.parametrize(
    ("staleness", "first", "versions"),
    [(1, 0, [0, 0, 1, 2, 3, 4]), (2, 0, [0, 0, 0, 1, 2, 3]), (1, 3, [3, 3, 4]), (9, 2, [2, 2, 2, 2])],
)
def test_which_weights_play_which_step(staleness: int, first: int, versions: list[int]) -> None:
    executor = Pinned()
    ahead = ahead_of(executor, staleness, first=first)
    for step in range(first, 6):
        assert ahead.take(step).total_s == step
    ahead.close()
    assert executor.played == list(zip(range(first, 6), versions, strict=True))
    assert executor.version is None  # whoever plays now does so with the newest


def test_nothing_is_played_before_its_weights_are_there() -> None:
    executor = Pinned()
    ahead = ahead_of(executor, 2)
    executor.until_played(3)  # all that the weights of the start are good for
    ahead.take(0)
    assert len(executor.played) == 3
    ahead.take(1)  # so step 0 is published
    executor.until_played(4)
    ahead.close()
    assert [step for step, _ in executor.played] == [0, 1, 2, 3]


def test_an_error_is_for_whoever_takes_the_step() -> None:
    executor = Pinned(fail_at=1)
    ahead = ahead_of(executor, 2)
    assert ahead.take(0).total_s == 0
    with pytest.raises(RolloutError, match="step 1 failed"):
        ahead.take(1)
    ahead.close()
    assert [step for step, _ in executor.played] == [0]  # nothing is played after it


def test_closing_waits_for_what_is_played_and_drops_it() -> None:
    executor = Pinned(wait_before=1)
    ahead = ahead_of(executor, 2)
    executor.until_played(1)
    closing = threading.Thread(target=ahead.close)
    closing.start()
    executor.goes_on.set()
    closing.join(LIMIT_S)
    assert not closing.is_alive()
    assert [step for step, _ in executor.played] in ([0], [0, 1])
    with pytest.raises(RuntimeError, match="Step 3 isn't played any more"):
        ahead.take(3)


def test_closing_without_waiting() -> None:
    executor = Pinned(wait_before=1)
    ahead = ahead_of(executor, 1)
    executor.until_played(1)
    ahead.close(wait=False)
    assert ahead.take(0).total_s == 0
    executor.goes_on.set()
