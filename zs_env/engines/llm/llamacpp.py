"""A GGUF model in this process: llama.cpp, by `xllamacpp`, with some places that generate side by side.

One loaded model serves all engines with equal settings. Requests wait here until a place is free, and run in a thread
of that place; the thread is told to stop by what it calls for each token. Nothing listens on a network: llama.cpp's
binding insists on a socket, so it gets one in a private folder that is deleted at once.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from zs_env.engines.llm.gguf import INSTALL_SMOLLM2
from zs_env.errors import ChatError, require

__all__ = ["Job", "LoadedModel", "ModelKey", "loaded_model", "require_llamacpp"]

_EXIT_S = 30.0
_BATCH_TOKENS = 256
"""Tokens of a prompt that are read before a request can be stopped."""


class ModelKey(NamedTuple):
    """What engines must have in common to share a loaded model."""

    file: Path
    slots: int
    threads: int
    context_tokens: int


class Job:
    """One request.

    Args:
        body: What OpenAI's chat protocol takes.
        timeout_s: The longest that it may generate.
    """

    def __init__(self, body: dict[str, Any], timeout_s: float) -> None:
        self.body = body
        self.timeout_s = timeout_s
        self.future: Future[list[dict[str, Any]]] = Future()
        self.stopped = False

    def run(self, server: Any) -> list[dict[str, Any]]:
        """Generate: all that llama.cpp streams.

        Raises:
            ChatError: It took too long, or was stopped.
        """
        events: list[dict[str, Any]] = []
        end = time.monotonic() + self.timeout_s
        late = False

        def take(event: dict[str, Any]) -> bool:
            nonlocal late
            events.append(event)
            late = time.monotonic() > end
            return self.stopped or late

        server.handle_chat_completions(self.body, take)
        if late:
            raise ChatError(
                f"The model in this process gave no whole reply within timeout_s={self.timeout_s:g}: raise it, lower "
                "max_tokens, or take a smaller model."
            )
        if self.stopped:
            raise ChatError("The model in this process was closed while it replied.")
        return events


class LoadedModel:
    """A model, its memory, and the threads of its places; it is loaded by the first request.

    Args:
        key: Which one, and how.
    """

    def __init__(self, key: ModelKey) -> None:
        self.key = key
        self._server: Any = None
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._running: set[Job] = set()
        self._threads: list[threading.Thread] = []
        self.closed = False

    @property
    def is_loaded(self) -> bool:
        """Whether it is loaded, or is being loaded."""
        return self._server is not None or self._loading.locked()

    def submit(self, job: Job) -> bool:
        """Queue a request; its future gets the result. False if the model was closed before it could be queued."""
        with self._lock:
            if self.closed:
                return False
            if not self._threads:
                for number in range(self.key.slots):
                    thread = threading.Thread(target=self._work, name=f"zs_env-llama-{number}", daemon=True)
                    self._threads.append(thread)
                    thread.start()
            self._waiting.put(job)
            return True

    def close(self, wait_s: float = _EXIT_S, *, at_exit: bool = False) -> None:
        """Stop all requests, and free the memory once their threads are done; at the program's end, that does it."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            threads = list(self._threads)
            for job in self._running:
                job.stopped = True
            for _ in threads:
                self._waiting.put(None)
        end = time.monotonic() + wait_s
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0.0))
        busy = any(thread.is_alive() for thread in threads)
        if self._server is not None and not busy:
            # llama.cpp goes on for a moment with a request that was stopped, and crashes if it is ended meanwhile.
            self._server.handle_chat_completions({"messages": [{"role": "user", "content": "."}], "max_tokens": 1})
        if at_exit or busy:
            self.keep_for_ever()
        self._server = None

    def keep_for_ever(self) -> None:
        """Never free the model: its own thread is gone or still busy, and to wait for it would hang."""
        if self._server is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))

    def _work(self) -> None:
        while True:
            job = self._waiting.get()
            if job is None:
                self._turn_away()
                return
            with self._lock:
                if self.closed:
                    job.stopped = True
                self._running.add(job)
            try:
                if job.future.set_running_or_notify_cancel():
                    self._answer(job)
            finally:
                with self._lock:
                    self._running.discard(job)

    def _answer(self, job: Job) -> None:
        try:
            if job.stopped:
                raise ChatError("The model in this process was closed before it could reply.")
            job.future.set_result(job.run(self._loaded()))
        except BaseException as error:  # the boundary of a thread: whoever waits for the future is told
            job.future.set_exception(error)

    def _turn_away(self) -> None:
        """Tell those who still wait."""
        while True:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._waiting.put(None)
                return
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(ChatError("The model in this process was closed before it could reply."))

    def _loaded(self) -> Any:
        with self._loading:
            if self._server is None:
                self._server = _load(self.key)
            return self._server


def _load(key: ModelKey) -> Any:
    xllamacpp = require_llamacpp()
    params = xllamacpp.CommonParams()
    params.model.path = str(key.file)
    params.n_parallel = key.slots
    params.n_ctx = key.slots * key.context_tokens
    params.n_batch = params.n_ubatch = _BATCH_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = key.threads
    params.verbosity = -1
    params.warmup = False
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.endpoint_slots = False
    params.ui = False
    params.n_threads_http = 1
    folder = tempfile.mkdtemp(prefix="zs")  # short: the path of a socket must be
    try:
        params.hostnames = [str(Path(folder) / "s.sock")]
        with _signals_kept():
            return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ChatError(
            f"llama.cpp can't load {key.file.name} ({error}): is it a whole chat model in GGUF format, and is there "
            f"memory for it with slots={key.slots} of context_tokens={key.context_tokens}?"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep Python's handling of Ctrl-C: some versions of the binding take it over."""
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
    get.restype = put.restype = ctypes.c_void_p
    get.argtypes, put.argtypes = [ctypes.c_int], [ctypes.c_int, ctypes.c_void_p]
    before = {number: get(number) for number in (2, 15)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if get(number) != handler:
                put(number, handler)


def require_llamacpp() -> Any:
    """The module `xllamacpp`.

    Raises:
        MissingPackageError: It isn't installed.
    """
    return require("xllamacpp", needed_for="A simulator in this process", install=INSTALL_SMOLLM2)


_models: dict[ModelKey, LoadedModel] = {}
_models_lock = threading.Lock()
_loaded_before_fork = False


def loaded_model(key: ModelKey) -> LoadedModel:
    """The process's model of this key; it is loaded when it is first asked.

    Raises:
        ChatError: The process was forked from one that had loaded a model.
    """
    if _loaded_before_fork:
        raise ChatError(
            "This process was forked from one that had a model loaded, which llama.cpp doesn't survive. Start "
            'processes with multiprocessing.set_start_method("spawn"), or let the first search be after the fork.'
        )
    with _models_lock:
        model = _models.get(key)
        if model is None or model.closed:
            model = _models[key] = LoadedModel(key)
        return model


def _after_fork() -> None:
    global _loaded_before_fork, _models_lock
    _models_lock = threading.Lock()
    if not _loaded_before_fork and any(model.is_loaded for model in _models.values()):
        _loaded_before_fork = True
        _leave_at_once()
    for model in _models.values():
        model.keep_for_ever()
        model.closed = True
    _models.clear()


def _leave_at_once() -> None:
    """Let a forked process end without llama.cpp's clean-up, which waits for threads that only its parent has."""
    libc = ctypes.CDLL(None)
    # The C library calls it with the exit status, before what was registered earlier. Others than glibc lack it.
    if hasattr(libc, "on_exit"):
        libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)


@atexit.register
def _close_all() -> None:
    for model in list(_models.values()):
        model.close(at_exit=True)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)
