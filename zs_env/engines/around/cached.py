"""A cache that stays: what was searched once isn't searched again."""

from __future__ import annotations

import json
import sqlite3
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from zs_env.curriculum import check_whole
from zs_env.engines.around.base import Steps, Wrapper
from zs_env.engines.around.database import Database
from zs_env.engines.around.keys import from_json, request_key, to_json
from zs_env.engines.around.timing import Clock
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["CachedEngine"]

_KIND = 0x5A534331  # "ZSC1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (number INTEGER PRIMARY KEY, key TEXT UNIQUE, answer TEXT, bytes INTEGER) ;;
CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY CHECK (id = 0), bytes INTEGER) ;;
INSERT OR IGNORE INTO total VALUES (0, 0) ;;
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON answers
    BEGIN UPDATE total SET bytes = bytes + new.bytes; END ;;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON answers
    BEGIN UPDATE total SET bytes = bytes - old.bytes; END
"""


class CachedEngine(Wrapper):
    """Keeps answers in a SQLite file and gives them again for equal searches.

    Two searches are equal if the engine (name and fingerprint), the query, topk and the draw are: question, golden
    answers, quality, seed. So a repeated query of an episode, which draws again, is searched again. An engine whose
    answers don't depend on the draw (`uses_draw = False`, or `draw=False` here) is asked once a query. Equal requests
    of one batch are asked once.

    A cached result says so (`cached`), costs nothing, and has the latency of looking it up. Failed searches are never
    kept. Several threads, event loops and processes may share the file (on a local disk). Trouble with the file in the
    middle of a run is a warning, and the engine is asked: a cache makes no search fail.

    Args:
        engine: What is asked for what isn't there.
        path: The file; it is made if it isn't there.
        draw: Whether the draw counts; left out: what the engine says.
        max_bytes: How much is kept, about; the oldest goes first.
        clock: What measures the latency of looking up.

    Raises:
        ConfigError: The file is broken, is something else, or can't be opened.
    """

    def __init__(
        self,
        engine: SearchEngine,
        path: str | Path,
        *,
        draw: bool | None = None,
        max_bytes: int = 2**30,
        clock: Clock = time.perf_counter,
    ) -> None:
        super().__init__(engine)
        check_whole("max_bytes", max_bytes, least=1)
        self._draw = super().uses_draw if draw is None else draw
        self._max_bytes = max_bytes
        self._clock = clock
        self._database = Database(path, kind=_KIND, schema=_SCHEMA, what="search cache")

    @property
    def uses_draw(self) -> bool:
        """Whether answers depend on the draw."""
        return self._draw

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _steps(self, requests: list[SearchRequest]) -> Steps:
        began = self._clock()
        # Asked for anew each time: an engine's fingerprint may change, as with another model on its server.
        engine = json.dumps([self.name, self.fingerprint])
        keys = [request_key(request, engine=engine, draw=self._draw) for request in requests]
        known = self._look_up(set(keys))
        latency = max(self._clock() - began, 0.0) / max(len(requests), 1)
        known = {key: _as_cached(result, latency) for key, result in known.items()}
        missing: dict[str, SearchRequest] = {}
        for key, request in zip(keys, requests, strict=True):
            if key not in known:
                missing.setdefault(key, request)
        answers = dict(zip(missing, (yield list(missing.values())) if missing else (), strict=True))
        self._keep({key: result for key, result in answers.items() if result.error is None})
        results = []
        for key in keys:
            if key in answers:
                result = answers[key]
                results.append(result)
                if result.error is None:  # an equal request of the same batch costs nothing more
                    known[key] = _as_cached(result, latency)
                    del answers[key]
            else:
                results.append(known[key])
        return results

    def _look_up(self, keys: Iterable[str]) -> dict[str, SearchResult]:
        found = {}
        try:
            with self._database.reading() as connection:
                for key in keys:
                    row = connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
                    if row is not None:
                        found[key] = from_json(json.loads(row[0]))
        except (sqlite3.Error, ConfigError, ValueError, KeyError, TypeError) as error:
            self._warn("read", error)
        return found

    def _keep(self, results: Mapping[str, SearchResult]) -> None:
        if not results:
            return
        try:
            rows = [(key, json.dumps(to_json(result))) for key, result in results.items()]
            with self._database.writing() as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO answers (key, answer, bytes) VALUES (?, ?, ?)",
                    [(key, answer, len(key) + len(answer)) for key, answer in rows],
                )
                while connection.execute("SELECT bytes FROM total").fetchone()[0] > self._max_bytes:
                    connection.execute("DELETE FROM answers WHERE number = (SELECT min(number) FROM answers)")
        except (sqlite3.Error, ConfigError, ValueError, TypeError) as error:
            self._warn("written", error)

    @staticmethod
    def _warn(what: str, error: Exception) -> None:
        warnings.warn(
            f"The search cache can't be {what}: {error}. Searches go on without it; delete or mend its file.",
            RuntimeWarning,
            stacklevel=2,
        )


def _as_cached(result: SearchResult, latency_s: float) -> SearchResult:
    return replace(result, cached=True, cost=0.0, latency_s=latency_s)
