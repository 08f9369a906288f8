"""The searches of a recorded run, given again without the engine that answered them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zs_env.engines.around.base import failed
from zs_env.engines.around.keys import from_json, request_key
from zs_env.engines.around.records import RecordReader
from zs_env.types import SearchRequest, SearchResult

__all__ = ["ReplayEngine"]


class ReplayEngine:
    """Answers from a record that `RecordingEngine` wrote: exactly the same results, in any order, offline, at once.

    A search that was recorded several times gets what it got the first time, then the second, and so on; after the last
    it gets the last again. A search that isn't in the record fails, and says what is missing.

    It never waits, also where the recorded engine did. Training is then replayed bit by bit if the recorded engine had
    `search_now` too; otherwise up to rounding, since slow searches change which episodes are generated together.

    Args:
        path: The record.

    Raises:
        ConfigError: There is no such file, or it is no record, or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self._reader = RecordReader(path)
        self._draw = bool(self._reader.header.get("draw", True))
        self._lock = threading.Lock()
        self._given: dict[str, int] = {}

    @property
    def name(self) -> str:
        """The name of the engine that was recorded."""
        return str(self._reader.header.get("engine") or "replay")

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the engine that was recorded."""
        found = self._reader.header.get("fingerprint")
        return found if isinstance(found, str) else None

    @property
    def uses_draw(self) -> bool:
        """Whether the draw tells the recorded searches apart."""
        return self._draw

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request from the record."""
        return self.search_now(requests)

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request from the record."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: SearchRequest) -> SearchResult:
        key = request_key(request, draw=self._draw)
        count = self._reader.count(key)
        if not count:
            return failed(self.name, self._explain(request), "missing")
        number = 0
        if count > 1:
            with self._lock:
                number = self._given.get(key, 0)
                self._given[key] = min(number + 1, count - 1)
        try:
            return from_json(self._reader.read(key, number))
        except (ValueError, KeyError, TypeError) as error:
            return failed(self.name, f"The record's line for {request.query!r:.100} is broken: {error!r}.", "missing")

    def _explain(self, request: SearchRequest) -> str:
        reader = self._reader
        broken = f", and {reader.num_broken} lines that can't be read" if reader.num_broken else ""
        return (
            f"The record {reader.path.name!r} doesn't hold this search: query {request.query!r:.200}, question "
            f"{request.question.id!r:.100}, quality {request.quality!r}, seed {request.seed}, topk {request.topk}. It "
            f"holds {reader.num_searches} searches of engine {self.name!r}{broken}. A replay asks the same only with "
            "the settings, questions, seeds and weights of the run that was recorded."
        )

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._reader.path.absolute(),)
