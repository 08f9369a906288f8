"""A sampler over an engine that is stepped: requests join while others are under way, each leaves when it is done.

One thread owns the engine. It takes in what has come, makes a step, hands out what has ended, and sleeps while there is
nothing to do. What must not meet a request under way, new weights above all, waits in the same queue for its turn: what
came before ends first, what comes later waits.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from agents.codec import TextCodec
from agents.errors import NonFiniteError
from agents.samplers.base import FinishReason, Generation, GenerationRequest, SamplingSettings, submit_all
from zs_env.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Ended", "StepEngine", "SteppedSampler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a request ended.

    Attributes:
        ids: See `Generation`.
        logprobs: See `Generation`.
        finish_reason: See `Generation`.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


class StepEngine(Protocol):
    """What works on many requests at once, a step at a time. One thread at a time calls it."""

    def add(self, key: str, request: GenerationRequest, settings: SamplingSettings) -> None:
        """Take a request in; it may raise for what can't be done."""

    def step(self) -> Sequence[tuple[str, Ended | Exception]]:
        """Go on with all of them by about a token, and tell by their keys which are done, and how."""

    def drop(self, keys: Collection[str]) -> None:
        """Let go of these; some may be done already."""

    def load(self, named_tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Take new weights, and forget what was computed with the old. There is no request then."""

    def close(self) -> None:
        """Let go of everything."""


@dataclass(slots=True)
class _Request:
    key: str
    request: GenerationRequest
    settings: SamplingSettings
    future: Future[Generation] = field(default_factory=Future)


@dataclass(slots=True)
class _Order:
    """Something that is done while no request is under way."""

    act: Callable[[], None]
    future: Future[None] = field(default_factory=Future)


class _EngineThread:
    """The one that calls the engine.

    Attributes:
        weight_version: Of the weights that the engine has.
    """

    def __init__(self, engine: StepEngine, codec: TextCodec) -> None:
        self.weight_version = 0
        self._engine = engine
        self._codec = codec
        self._wake = threading.Condition()
        self._inbox: deque[_Request | _Order] = deque()
        self._dropped: list[str] = []
        self._running: dict[str, Future[Generation]] = {}
        self._keys = itertools.count()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        _threads.add(self)

    def submit(self, request: GenerationRequest, settings: SamplingSettings) -> Future[Generation]:
        job = _Request(str(next(self._keys)), request, settings)
        job.future.add_done_callback(lambda future: self._drop(job.key) if future.cancelled() else None)
        self._put(job)
        return job.future

    def order(self, act: Callable[[], None]) -> None:
        """Have something done when what came before has ended, and wait for it."""
        job = _Order(act)
        self._put(job)
        job.future.result()

    def close(self) -> None:
        """Give up what is under way and let go of the engine."""
        with self._wake:
            if self._is_closed:
                return
            self._is_closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self._engine.close()

    def load(self, named_tensors: Iterable[tuple[str, Tensor]], version: int) -> None:
        self._engine.load(named_tensors)
        self.weight_version = version

    def _put(self, job: _Request | _Order) -> None:
        with self._wake:
            if self._is_closed:
                raise ConfigError("This sampler was closed; make a new one.")
            self._inbox.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sampler-engine", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _drop(self, key: str) -> None:
        with self._wake:
            self._dropped.append(key)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._inbox or self._dropped or self._running or self._is_closed):
                    self._wake.wait()
                if self._is_closed:
                    break
                arrived = self._arrived()
                dropped, self._dropped = [key for key in self._dropped if key in self._running], []
            for key in dropped:
                del self._running[key]
            if dropped:
                with contextlib.suppress(Exception):  # what can't be dropped ends by itself, and nobody hears of it
                    self._engine.drop(dropped)
            for job in arrived:
                self._begin(job)
            if self._running:
                self._step()
        unserved = [job.future for job in self._inbox]
        for future in [*self._running.values(), *unserved]:
            future.cancel()

    def _arrived(self) -> list[_Request | _Order]:
        """What may begin now: requests up to the next order, or the order itself once nothing is under way."""
        arrived: list[_Request | _Order] = []
        while self._inbox and not isinstance(self._inbox[0], _Order):
            arrived.append(self._inbox.popleft())
        if self._inbox and not arrived and not self._running:
            arrived.append(self._inbox.popleft())
        return arrived

    def _begin(self, job: _Request | _Order) -> None:
        if job.future.cancelled():
            return
        try:
            if isinstance(job, _Order):
                job.act()
                job.future.set_result(None)
            else:
                self._engine.add(job.key, job.request, job.settings)
                self._running[job.key] = job.future
        except BaseException as error:
            _give(job.future, error)

    def _step(self) -> None:
        try:
            ended = self._engine.step()
        except BaseException as error:
            # Whose fault it was can't be told.
            keys, futures = list(self._running), list(self._running.values())
            self._running.clear()
            with contextlib.suppress(Exception):
                self._engine.drop(keys)
            for future in futures:
                _give(future, error)
            return
        for key, end in ended:
            if key in self._running:
                _give(self._running.pop(key), self._generation(end) if isinstance(end, Ended) else end)

    def _generation(self, end: Ended) -> Generation | Exception:
        odd = [logprob for logprob in end.logprobs if not math.isfinite(logprob)]
        if odd:
            return NonFiniteError(
                f"The engine drew {len(odd)} of {len(end.logprobs)} tokens with a log-prob that isn't finite ({odd[0]}"
                ", for one): the model's logits are NaN or infinite. The weights have likely diverged: lower the "
                "learning rate, or load an earlier checkpoint."
            )
        try:
            text = self._codec.decode(end.ids[:-1] if end.finish_reason == "eos" else end.ids)
        except Exception as error:
            return error
        return Generation(
            ids=end.ids,
            logprobs=end.logprobs,
            finish_reason=end.finish_reason,
            weight_version=self.weight_version,
            text=text,
        )


def _give(future: Future[Any], outcome: object) -> None:
    """Settle a future, unless it was cancelled meanwhile."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class SteppedSampler:
    """Samples from an engine that is stepped; a `StreamingSampler` and a `PublishedSampler`.

    Args:
        engine: Who works; it belongs to this sampler from now on.
        codec: Its tokenizer's codec.
        settings: How tokens are drawn.
    """

    def __init__(self, engine: StepEngine, codec: TextCodec, settings: SamplingSettings | None = None) -> None:
        self.codec = codec
        self.settings = settings or SamplingSettings()
        self._thread = _EngineThread(engine, codec)

    @property
    def weight_version(self) -> int:
        """The version of the weights that the next generation is written with."""
        return self._thread.weight_version

    def with_settings(self, settings: SamplingSettings) -> Self:
        """A sampler of the same engine that draws in another way."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, settings=settings)
        return other

    def submit(self, request: GenerationRequest) -> Future[Generation]:
        """Ask for one continuation; see `StreamingSampler.submit`."""
        return self._thread.submit(request, self.settings)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Continue every prompt; see `Sampler.generate`."""
        return submit_all(self, requests)

    def publish_weights(self, named_tensors: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Take new weights; see `PublishedSampler.publish_weights`. It returns once they are there."""
        self._thread.order(lambda: self._thread.load(named_tensors, version))

    def close(self) -> None:
        """Give up what is under way and let go of the model."""
        self._thread.close()


_threads: weakref.WeakSet[_EngineThread] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # A thread that is killed in the middle of a step takes the process down with it.
    for thread in list(_threads):
        thread.close()
