"""A decoding step that a GPU plays back: the same kernels on the same memory, started by one call, not a thousand.

A token a row of a model of 28 layers is about a thousand small kernels. A GPU computes them faster than Python can
start them, so it waits; recorded once as a CUDA graph, they are started together.

Shapes: M layers, B rows, K key heads, C tokens that a row has room for, D width of a head, V vocabulary.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["RecordedStep", "Recorder", "records_on"]


def records_on(device: torch.device) -> bool:
    """Whether a device plays back what was recorded."""
    return device.type == "cuda"


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's collector from freeing a graph of before while another is recorded, which would spoil it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Recorder:
    """Records steps one after the other into the same memory.

    Attributes:
        can_record: Whether it does; not any more once a step couldn't be recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.can_record = records_on(device)
        self._last: Any = None  # while it lives, its memory can be taken for the next one
        self._stream: Any = None  # one for all: libraries keep working memory for each stream they have seen

    def record(self, compute: Callable[[], Tensor]) -> tuple[Any, Tensor] | None:
        """The graph of a computation, and where its result is once it was replayed; None if it can't be recorded."""
        # torch.cuda.graph would empty the allocator's cache, too, and a new batch records anew.
        graph: Any = torch.cuda.CUDAGraph()
        stream = self._stream = self._stream or torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        here: Any = torch.cuda.current_stream(self.device)
        stream.wait_stream(here)
        pool = () if self._last is None else (self._last.pool(),)
        try:
            with _no_collection(), torch.cuda.stream(stream):
                graph.capture_begin(*pool, capture_error_mode="thread_local")
                try:
                    out = compute()
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            self.can_record = False
            torch.cuda.synchronize(self.device)
            warnings.warn(
                f"This model's decoding step can't be recorded, so it is started kernel by kernel: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        here.wait_stream(stream)
        self._last = graph
        return graph, out


class RecordedStep:
    """Computes [B, V] of [B, 1] ids at [B, 1] places; on a GPU, from the second call on, by playing back.

    The first call computes as ever, so that all that is made at first use is there before anything is recorded. A model
    that can't be recorded (its forward looks at a number, say) goes on as ever, with a warning.

    Args:
        compute: The step, of tensors that stay where they are: ids and places, each [B, 1], int64.
        rows: B.
        recorder: Who records.
    """

    def __init__(self, compute: Callable[[Tensor, Tensor], Tensor], rows: int, recorder: Recorder) -> None:
        self._compute = compute
        self._recorder = recorder
        self._ids = torch.zeros(rows, 1, dtype=torch.long, device=recorder.device)
        self._places = torch.zeros(rows, 1, dtype=torch.long, device=recorder.device)
        self._has_run = False
        self._recorded: tuple[Any, Tensor] | None = None

    def __call__(self, ids: Tensor, places: Tensor) -> Tensor:
        """[B, V], which the next call overwrites."""
        self._ids.copy_(ids)
        self._places.copy_(places)
        if self._recorded is None and self._has_run and self._recorder.can_record:
            self._recorded = self._recorder.record(lambda: self._compute(self._ids, self._places))
        self._has_run = True
        if self._recorded is None:
            return self._compute(self._ids, self._places)
        graph, out = self._recorded
        graph.replay()
        return out
