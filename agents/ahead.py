"""Episodes of coming steps, played while a step is learned from.

Without it a training step is a rollout and then an update, and whoever does one waits for the other. With a staleness
of k, step n is played with the weights after n - k steps (those of the start while there are fewer), so up to k steps
can be played ahead. The lag is fixed, not "as new as may be": which weights play which step doesn't depend on timing.
What is learned from is then off-policy by k steps, which truncated importance sampling corrects for
(`importance_cap`; see `losses.sampler_correction`). Source: off-policy training as in AReaL (arXiv 2505.24298) and
LlamaRL (arXiv 2505.24034), here with a fixed lag.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from agents.rollout import RolloutResult

__all__ = ["PinnedExecutor", "PlayAhead"]


class PinnedExecutor(Protocol):
    """An executor that can play with older weights than the newest."""

    def pin(self, weight_version: int | None) -> None:
        """Let rollouts take place with these weights; None for the newest."""


class PlayAhead:
    """Plays steps one after the other in a thread, each as soon as its weights are there.

    Args:
        play: Plays a step.
        executor: With whose weights.
        max_staleness: How many steps the weights lie behind, at least 1.
        first_step: The step to begin with.
        total_steps: How many the run has.
    """

    def __init__(
        self,
        play: Callable[[int], RolloutResult],
        executor: PinnedExecutor,
        *,
        max_staleness: int,
        first_step: int,
        total_steps: int,
    ) -> None:
        self._play, self._executor = play, executor
        self._staleness, self._first, self._total = max_staleness, first_step, total_steps
        self._done: dict[int, RolloutResult | BaseException] = {}
        self._version, self._closed = first_step, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="play-ahead", daemon=True)
        self._thread.start()

    def take(self, step: int) -> RolloutResult:
        """The episodes of a step, once they are played; whatever playing them raised is raised here."""
        with self._changed:
            self._version = max(self._version, step)  # whoever takes a step has published all before it
            self._changed.notify_all()
            self._changed.wait_for(lambda: step in self._done or self._closed)
            found = self._done.pop(step, None)
        if found is None:
            raise RuntimeError(f"Step {step} isn't played any more: the playing was ended.")
        if isinstance(found, BaseException):
            raise found
        return found

    def version_of(self, step: int) -> int:
        """The weights that a step is played with."""
        return max(step - self._staleness, self._first)

    def close(self, *, wait: bool = True) -> None:
        """Play nothing more; a step that is being played comes to its end, and is dropped.

        Args:
            wait: Whether to wait for that end.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if wait:
            self._thread.join()
            self._executor.pin(None)

    def _run(self) -> None:
        for step in range(self._first, self._total):
            wanted = self.version_of(step)
            with self._changed:
                self._changed.wait_for(lambda wanted=wanted: self._version >= wanted or self._closed)  # type: ignore[misc]
                if self._closed:
                    return
            self._executor.pin(wanted)
            try:
                found: RolloutResult | BaseException = self._play(step)
            except BaseException as error:  # it is for whoever takes the step
                found = error
            with self._changed:
                self._done[step] = found
                self._changed.notify_all()
            if isinstance(found, BaseException):
                return
