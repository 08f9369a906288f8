"""The learners of a run as one: every call goes to all of them, and is over when all have answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from agents.accumulation import Example
from agents.errors import NonFiniteError, TrainingError, WorkersLostError, first_line
from agents.executors.faults import is_lost_object, lacks_room
from agents.losses import Aggregation
from agents.sharded.shares import put_together, split

__all__ = ["LearnerGroup"]

_GRACE_S = 5.0
"""How long to look, after a learner's error, whether another one's death was the reason for it."""


class LearnerGroup:
    """Learners that the policy is sharded over.

    Args:
        ray: The package.
        make: Starts the process of a rank.
        count: How many.
        timeout_s: How long any work may take.
        start_timeout_s: How long they may take until they are ready.
        bucket_bytes: How much of the weights is gathered at once.
        room: See `faults.lacks_room`.

    Attributes:
        places: What each says of itself.
    """

    def __init__(
        self,
        ray: Any,
        make: Callable[[int], Any],
        *,
        count: int,
        timeout_s: float,
        start_timeout_s: float,
        bucket_bytes: int,
        room: Callable[[Any], str],
    ) -> None:
        self.places: list[dict[str, Any]] = []
        self._ray, self._make, self._count = ray, make, count
        self._timeout_s, self._start_timeout_s = timeout_s, start_timeout_s
        self._bucket_bytes, self._room = bucket_bytes, room
        self._handles: list[Any] = []
        self._broken: str | None = None

    def start(self, shape: Any, weights: Sequence[Any], *, host: str | None) -> None:
        """Start all of them, with their parts of the policy.

        Raises:
            WorkersLostError: One of them died, or they aren't ready in time.
            TrainingError: No machine has room for one of them.
        """
        self.places, self._broken = [], None
        self._handles = [self._make(rank) for rank in range(self._count)]
        try:
            self.places = self._all([one.ready.remote() for one in self._handles], self._start_timeout_s)
        except WorkersLostError:
            for rank, one in enumerate(self._handles):
                if why := self._room(one):
                    raise lacks_room(f"Learner {rank}", self._start_timeout_s, why) from None
            raise
        (where,) = self._all([self._handles[0].open_store.remote(host)], self._start_timeout_s)
        # In lists, so that Ray passes on where the weights are and not the weights.
        started = [one.start.remote(shape, list(weights), where) for one in self._handles]
        self._all(started, self._start_timeout_s)

    def infer(self, what: str, examples: Sequence[Example], name: str) -> list[Example]:
        """The examples with what the learners say of each token."""
        if not examples:
            return []
        shares = split(examples, self._count, None)
        found = self._everyone(lambda one, rank: one.infer.remote(what, shares[rank]))
        tensors: list[torch.Tensor] = put_together(shares, found)
        return [example.with_(**{name: tensor}) for example, tensor in zip(examples, tensors, strict=True)]

    def update(
        self,
        what: str,
        examples: Sequence[Example],
        loss_function: Any,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """One optimizer step of all of them."""
        shares = split(examples, self._count, aggregation)
        found = self._everyone(lambda one, rank: one.update.remote(what, shares[rank], loss_function, learning_rate))
        metrics: dict[str, float] = found[0]
        return metrics

    def gather(self) -> list[Any]:
        """References to the trained weights, in parts."""
        parts, more = [], True
        while more:
            asked = [one.next_weights.options(num_returns=2).remote(self._bucket_bytes) for one in self._handles]
            (more, *_) = self._all([following for _, following in asked], self._timeout_s)
            parts.append(asked[0][0])
        return parts

    def save(self, folder: str) -> None:
        """Write the training state."""
        self._everyone(lambda one, _: one.save.remote(folder))

    def load(self, folder: str) -> None:
        """Take back a training state that any number of learners wrote."""
        self._everyone(lambda one, _: one.load.remote(folder))

    def close(self) -> None:
        """End all of them."""
        for one in self._handles:
            self._ray.kill(one)
        self._handles = []

    def _everyone(self, ask: Callable[[Any, int], Any]) -> list[Any]:
        return self._all([ask(one, rank) for rank, one in enumerate(self._handles)], self._timeout_s)

    def _all(self, asked: list[Any], timeout_s: float) -> list[Any]:
        """All answers.

        The first that fails ends the waiting: the others may be waiting for that one for ever.

        Raises:
            WorkersLostError: A learner died, or didn't answer in time; the group is of no more use.
        """
        if self._broken is not None:
            raise WorkersLostError(f"The learners are out of step since one of them failed: {self._broken}")
        try:
            return self._wait(asked, timeout_s)
        except NonFiniteError:  # which all of them raise alike
            raise
        except BaseException as error:
            self._broken = first_line(error)
            raise

    def _wait(self, asked: list[Any], timeout_s: float) -> list[Any]:
        began, left = time.monotonic(), list(asked)
        while left:
            done, left = self._ray.wait(left, num_returns=1, timeout=max(began + timeout_s - time.monotonic(), 0.0))
            if not done:
                late = sorted(asked.index(one) for one in left)
                raise WorkersLostError(f"{self._name(late[0]).capitalize()} gave no answer within {timeout_s:g} s.")
            try:
                self._ray.get(done)
            except self._ray.exceptions.RayTaskError as error:
                raise self._explained(error.cause, asked.index(done[0]), asked) from error
            except self._ray.exceptions.RayError as error:
                raise self._death(error, asked.index(done[0])) from error
        found: list[Any] = self._ray.get(asked)
        return found

    def _explained(self, cause: BaseException, rank: int, asked: list[Any]) -> BaseException:
        """What a learner raised. Where another one's death was the reason, it is that the group is lost."""
        if isinstance(cause, NonFiniteError):  # which all of them raise alike
            return cause
        # What torch and its checkpoints make of a lost connection has many types and words: the dead one is looked for.
        answered, silent = self._ray.wait(asked, num_returns=len(asked), timeout=_GRACE_S)
        for one in answered:
            try:
                self._ray.get(one)
            except self._ray.exceptions.RayTaskError:
                continue
            except self._ray.exceptions.RayError as error:
                return self._death(error, asked.index(one))
        if is_lost_object(self._ray, cause):
            return WorkersLostError(f"Learner {rank} found no weights to begin with ({first_line(cause)}).")
        if isinstance(cause, torch.distributed.DistError) or _lost_a_peer(cause):
            waited = f"Learner {rank} waited for another one in vain ({first_line(cause)})"
            late = ", ".join(self._name(asked.index(one)) for one in silent)
            return WorkersLostError(f"{waited}; no answer came from {late}." if late else f"{waited}.")
        return cause

    def _name(self, rank: int) -> str:
        pid = self.places[rank].get("pid") if rank < len(self.places) else None
        return f"learner {rank}" + (f" (process {pid})" if pid else "")

    def _death(self, error: BaseException, rank: int) -> BaseException:
        who = self._name(rank).capitalize()
        if getattr(error, "actor_init_failed", False):  # as another one's would
            return TrainingError(f"{who} could not start: {error}")
        return WorkersLostError(f"{who} died ({first_line(error)}).")


def _lost_a_peer(error: BaseException) -> bool:
    words = ("connection closed by peer", "connection reset", "timed out", "broken pipe", "gloo", "nccl")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
