"""Ctrl-C and SIGTERM: the first one lets a training step end, the second one stops at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "StopSignals"]


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop.

    Args:
        message: What was saved, and how to go on.
        exit_code: What the command ends with: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, message: str = "", exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StopSignals:
    """While it is entered, the first Ctrl-C or SIGTERM inside `deferred` is only noted, for the code to look at.

    Outside of `deferred`, and from the second one on, `Interrupted` is raised where the program is. Signals reach the
    main thread alone: entered elsewhere, none is noted, and `request` is how to stop.

    Args:
        say: Is told when a signal is noted.

    Attributes:
        received: The first signal that came; None if none did.
        urgent: Whether `Interrupted` was raised for one.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.received: int | None = None
        self.urgent = False
        self._say = say
        self._deferring = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return 128 + (self.received or signal.SIGINT)

    def request(self) -> None:
        """Ask for a stop at the end of a step, as the first Ctrl-C does; from any thread."""
        if self.received is None:
            self.received = signal.SIGTERM

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Note the first signal instead of raising; who enters this looks at `received` afterwards."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _handle(self, number: int, _: FrameType | None) -> None:
        first = self.received is None
        if first:
            self.received = number
        if not (first and self._deferring):
            self.urgent = True
            raise Interrupted(exit_code=128 + number)
        with contextlib.suppress(RuntimeError):  # the program may be writing a line itself just now
            self._say("Stopping after this training step. Once more (Ctrl-C) stops at once, without it.")
