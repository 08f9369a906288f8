"""The samplers of a run: work dealt out to them, and others in the place of those that die or hang."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from agents.conversation import EpisodeTask
from agents.errors import TrainingError, WorkersLostError, first_line
from agents.executors.faults import is_lost_object, lacks_room
from agents.executors.workers import Drawing
from agents.rollout import RolloutResult

__all__ = ["SamplerPool", "allowed_s", "deal_out"]


def deal_out(tasks: Sequence[EpisodeTask], num_parts: int) -> list[list[int]]:
    """Indices of the tasks in at most so many parts of nearly equal size, whole groups together, in order.

    A part is played by one sampler, so episodes of a question share its prompt. What the parts are depends on the tasks
    and the number alone, and so does, up to rounding, what is played, whoever plays it.
    """
    groups: dict[int, list[int]] = {}
    for index, task in enumerate(tasks):
        groups.setdefault(task.group, []).append(index)
    whole, count = list(groups.values()), min(num_parts, len(groups))
    bounds = [len(whole) * number // count for number in range(count + 1)] if count else [0]
    return [[index for group in whole[first:last] for index in group] for first, last in pairwise(bounds)]


def allowed_s(num_episodes: int, *, usual: int, timeout_s: float) -> float:
    """How long a part may take: an evaluation's may have many times the episodes of a training step's.

    Args:
        num_episodes: Of the part.
        usual: How many a part of a training step has, at most.
        timeout_s: How long such a one may take.

    Examples:
        >>> [allowed_s(count, usual=4, timeout_s=60.0) for count in (1, 4, 10)]
        [60.0, 60.0, 150.0]
    """
    return timeout_s * max(1.0, num_episodes / usual)


@dataclass(slots=True)
class _Work:
    """A part of the tasks."""

    indices: list[int]
    limit_s: float
    began: float = 0.0
    sampler: int = -1


@dataclass(slots=True)
class _Round:
    """One rollout in progress."""

    waiting: deque[_Work]
    running: dict[Any, _Work] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)


class SamplerPool:
    """Samplers that play together.

    Args:
        ray: The package.
        make: Starts the sampler of a number, loaded with the weights of a version; it gives its handle, and what is
            there to wait for until it is ready.
        count: How many.
        timeout_s: How long one part of the episodes may take; as much longer as it has more episodes than are usual.
        usual_episodes: How many a part of a training step has, at most.
        start_timeout_s: How long a sampler may take until it is ready.
        max_replacements: How many may be replaced without `progressed` in between.
        chunks_per_sampler: See `ScaleSettings`.
        note: Is told what happened: kind, and a sentence.
        room: Of a sampler that isn't ready in time: what it asks for and what there is, if no machine has taken it;
            else an empty text.
    """

    def __init__(
        self,
        ray: Any,
        make: Callable[[int], tuple[Any, Any]],
        *,
        count: int,
        timeout_s: float,
        usual_episodes: int,
        start_timeout_s: float,
        max_replacements: int,
        chunks_per_sampler: int,
        note: Callable[[str, str], None],
        room: Callable[[Any], str],
    ) -> None:
        self.places: list[dict[str, Any]] = [{} for _ in range(count)]
        self._ray, self._make, self._note, self._room = ray, make, note, room
        self._timeout_s, self._start_timeout_s = timeout_s, start_timeout_s
        self._usual_episodes = usual_episodes
        self._max_replacements, self._num_replaced = max_replacements, 0
        self._num_parts = count * chunks_per_sampler
        self._handles: list[Any] = [None] * count
        self._ready: dict[int, Any] = {}
        self._closed = False

    def start(self) -> None:
        """Start all of them; `wait` waits until they are there."""
        for number in range(len(self._handles)):
            self._handles[number], self._ready[number] = self._make(number)

    def wait(self) -> None:
        """Until all are ready, those that die meanwhile being replaced.

        Raises:
            TrainingError: More are lost than may be replaced, or no machine has room for one.
        """
        while self._ready:
            number, ready = next(iter(self._ready.items()))
            try:
                self.places[number] = self._ray.get(ready, timeout=self._start_timeout_s)
                del self._ready[number]
            except self._ray.exceptions.RayTaskError as error:
                raise self._explained(error) from error  # a mistake that another one would make, too
            except (self._ray.exceptions.RayError, TimeoutError) as error:
                if isinstance(error, TimeoutError) and (why := self._room(self._handles[number])):
                    raise lacks_room(f"Sampler {number}", self._start_timeout_s, why) from error
                self._replace(number, error, self._start_timeout_s)

    def progressed(self) -> None:
        """A training step has come to its end: whoever is lost from now on may be replaced again."""
        self._num_replaced = 0

    def play(
        self, tasks: Sequence[EpisodeTask], drawing: Drawing, *, seed: int, version: int, weights: Sequence[Any]
    ) -> RolloutResult:
        """One episode a task, in the order of the tasks.

        Raises:
            TrainingError: More samplers are lost than may be replaced.
            WorkersLostError: The weights that they should play with are lost.
            ZeroSearchError: What a sampler says that can't go well.
        """
        began = time.perf_counter()
        parts = deque(
            _Work(indices, allowed_s(len(indices), usual=self._usual_episodes, timeout_s=self._timeout_s))
            for indices in deal_out(tasks, self._num_parts)
        )
        playing = _Round(waiting=parts, idle=list(range(len(self._handles))))
        found: list[tuple[_Work, RolloutResult]] = []
        while playing.waiting or playing.running:
            while playing.waiting and playing.idle:
                work = playing.waiting.popleft()
                work.sampler, work.began = playing.idle.pop(0), time.monotonic()
                handle = self._handles[work.sampler]
                chosen = [tasks[index] for index in work.indices]
                # The weights lie in a list, so that they are fetched only where they are needed.
                reference = handle.play.remote(chosen, drawing, seed, version, list(weights))
                playing.running[reference] = work
            first_due = min(work.began + work.limit_s for work in playing.running.values())
            left_s = max(first_due - time.monotonic(), 0.0)
            done, _ = self._ray.wait(list(playing.running), num_returns=1, timeout=left_s)
            for reference in done or self._late(playing):
                work = playing.running.pop(reference)
                played = self._take(reference, work, hangs=not done)
                if played is None:  # its episodes are played again, by whoever comes first
                    playing.waiting.appendleft(_Work(work.indices, work.limit_s))
                else:
                    found.append((work, played))
                playing.idle.append(work.sampler)
        return self._put_together(len(tasks), found, time.perf_counter() - began)

    def _late(self, playing: _Round) -> list[Any]:
        now = time.monotonic()
        return [one for one, work in playing.running.items() if now - work.began >= work.limit_s]

    def _take(self, reference: Any, work: _Work, *, hangs: bool) -> RolloutResult | None:
        """What a sampler gave; None if it is lost, and there is another one in its place."""
        try:
            if hangs:
                raise TimeoutError
            played: RolloutResult = self._ray.get(reference)
            return played
        except self._ray.exceptions.RayTaskError as error:
            raise self._explained(error) from error
        except (self._ray.exceptions.RayError, TimeoutError) as error:
            self._replace(work.sampler, error, work.limit_s)
            self.wait()
            return None

    def _explained(self, error: Any) -> BaseException:
        """What a sampler raised; if it found no weights, that they are lost."""
        cause: BaseException = error.cause
        if is_lost_object(self._ray, cause):
            return WorkersLostError(f"Weights that were published are lost ({first_line(cause)}).")
        return cause

    def _replace(self, number: int, error: BaseException, timeout_s: float) -> None:
        pid = self.places[number].get("pid")
        who = f"Sampler {number}" + (f" (process {pid})" if pid else "")
        if self._closed:
            raise WorkersLostError("The samplers were ended.")
        if getattr(error, "actor_init_failed", False):  # as another one's would
            raise TrainingError(f"{who} could not start: {error}") from error
        reason = f"died ({first_line(error)})"
        if isinstance(error, TimeoutError):
            reason = f"gave no answer within {timeout_s:g} s"
        self._num_replaced += 1
        if self._num_replaced > self._max_replacements:
            raise TrainingError(
                f"{who} {reason}, and {self._max_replacements} were replaced since the last training step that came to "
                "its end, as many as max_replacements allows."
            )
        self._note("sampler_replaced", f"{who} {reason}; another one takes its place and plays its episodes again.")
        self._ray.kill(self._handles[number])
        self.places[number] = {}
        self._handles[number], self._ready[number] = self._make(number)
        if self._closed:  # by another thread, just now
            self._ray.kill(self._handles[number])
            raise WorkersLostError("The samplers were ended.")

    def _put_together(self, count: int, found: Sequence[tuple[_Work, RolloutResult]], total_s: float) -> RolloutResult:
        placed: dict[int, Any] = {}
        for work, played in found:
            placed.update(zip(work.indices, played.trajectories, strict=True))
        size = max(len(self._handles), 1)
        return RolloutResult(
            trajectories=[placed[index] for index in range(count)],
            generate_s=sum(played.generate_s for _, played in found) / size,
            search_s=sum(played.search_s for _, played in found) / size,
            total_s=total_s,
        )

    def close(self) -> None:
        """End all of them."""
        self._closed = True
        for handle in self._handles:
            if handle is not None:
                self._ray.kill(handle)
        self._handles = [None] * len(self._handles)
