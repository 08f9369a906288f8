"""A folder of all that was asked of models and engines, from which an evaluation is run again without asking anyone.

    replay/
      replies.jsonl             what models wrote, by a hash of all that it depends on
      searches-<engine>-….jsonl what an engine found; `zs_env`'s record of searches, so others can replay it, too

What isn't there is asked and added, so one folder serves a run, its repetition, and a run that is stopped and goes on.
What failed is never kept: it is asked again.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.engines.around.base import Steps, Wrapper, failed
from zs_env.engines.around.keys import from_json, request_key, to_json
from zs_env.engines.around.records import RecordReader, RecordWriter
from zs_env.errors import ServiceError
from zs_env.tuning.keeping import KeptFile
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["Replay", "ReplayedEngine"]

SCHEMA = "zerosearch.replies/1"


class Replay:
    """The folder, for one command at a time.

    Args:
        folder: Where it is; it is made if it isn't there.
        only: Whether what isn't in it fails instead of being asked.

    Attributes:
        num_found: Replies that were in it.
        num_asked: Replies that weren't, and were added.

    Raises:
        ConfigError: A file of it is something else, is being written by another command, or can't be written.
    """

    def __init__(self, folder: Path, *, only: bool = False) -> None:
        self.folder, self.only = folder, only
        self.num_found = self.num_asked = 0
        self._lock = threading.Lock()
        self._engines: list[ReplayedEngine] = []
        self._file = KeptFile(folder / "replies.jsonl", {"schema": SCHEMA}, instead="name another folder with --replay")
        self._replies: dict[str, dict[str, Any]] = {row["key"]: row["reply"] for row in self._file.rows}
        self._file.rows.clear()

    def lookup(self, key: str) -> dict[str, Any] | None:
        """What a model wrote; None if it has to be asked.

        Raises:
            ServiceError: It isn't there, and nobody may be asked.
        """
        with self._lock:
            found = self._replies.get(key)
            if found is not None:
                self.num_found += 1
            elif self.only:
                raise ServiceError(
                    f"The replay {self.folder.name!r} doesn't hold what the model wrote here, and --replay-only asks no "
                    "one: a replay asks the same only with the settings, questions, seed and weights that were recorded."
                )
            return None if found is None else dict(found)

    def store(self, key: str, reply: Mapping[str, Any]) -> None:
        """Add what a model wrote.

        Raises:
            ConfigError: It can't be written.
        """
        with self._lock:
            if key not in self._replies:
                self._replies[key] = dict(reply)
                self._file.write([{"key": key, "reply": self._replies[key]}])
                self.num_asked += 1

    def around(self, engine: SearchEngine, identity: Mapping[str, Any]) -> ReplayedEngine:
        """The engine that answers from the folder what was searched before.

        Args:
            engine: What is asked for the rest.
            identity: What tells it from others, beside its name and fingerprint: its options.
        """
        told = [engine.name, getattr(engine, "fingerprint", None), identity]
        mark = hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()[:12]
        plain = re.sub(r"[^a-z0-9]+", "-", engine.name.lower()).strip("-")
        made = ReplayedEngine(engine, self.folder / f"searches-{plain}-{mark}.jsonl", only=self.only)
        self._engines.append(made)
        return made

    @property
    def num_searches_found(self) -> int:
        """Searches that were in it."""
        return sum(engine.num_found for engine in self._engines)

    @property
    def num_searches_asked(self) -> int:
        """Searches that weren't, and were sent to their engines."""
        return sum(engine.num_asked for engine in self._engines)

    def close(self) -> None:
        """Close all its files."""
        self._file.close()
        for engine in self._engines:
            engine.close()


class ReplayedEngine(Wrapper):
    """Answers equal searches equally, from a file that it adds to.

    Results are given as they were: `cached`, latency and cost are those of the search that was made, so an evaluation
    from a replay says of itself what the first one said. (`CachedEngine` saves money; this repeats.)

    Args:
        engine: What is asked for what isn't there.
        path: The file.
        only: Whether what isn't there fails instead.

    Attributes:
        num_found: Searches that were there.
        num_asked: Searches that weren't.
    """

    def __init__(self, engine: SearchEngine, path: Path, *, only: bool = False) -> None:
        super().__init__(engine)
        self._only = only
        self._writer = RecordWriter(path, {"engine": self.name, "fingerprint": self.fingerprint, "draw": self.uses_draw})
        self._reader = RecordReader(path)
        self._lock = threading.Lock()
        self._new: dict[str, SearchResult] = {}
        self.num_found = self.num_asked = 0

    def close(self) -> None:
        """Close the file, and what the engine holds."""
        self._writer.close()

    def _steps(self, requests: list[SearchRequest]) -> Steps:
        keys = [request_key(request, draw=self.uses_draw) for request in requests]
        found = {key: result for key in set(keys) if (result := self._look_up(key)) is not None}
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        if self._only:
            why = "The replay doesn't hold this search, and --replay-only sends none."
            return [found[key] if key in found else failed(self.name, why, "missing") for key in keys]
        results = (yield list(missing.values())) if missing else []
        for (key, request), result in zip(missing.items(), results, strict=True):
            found[key] = self._add(key, request, result)
        with self._lock:
            self.num_asked += len(missing)
            self.num_found += len(requests) - len(missing)
        return [found[key] for key in keys]

    def _look_up(self, key: str) -> SearchResult | None:
        with self._lock:
            if key in self._new:
                return self._new[key]
        return from_json(self._reader.read(key, 0)) if self._reader.count(key) else None

    def _add(self, key: str, request: SearchRequest, result: SearchResult) -> SearchResult:
        """Write a result, unless it failed; the one that counts is the first of two searches that were under way."""
        if result.error is not None:
            return result
        record = {
            "key": key,
            "query": request.query,
            "question": request.question.id,
            "quality": request.quality,
            "seed": int(request.seed),
            "topk": int(request.topk),
            "result": to_json(result),
        }
        with self._lock:
            if key in self._new:
                return self._new[key]
            self._writer.write([record])
            self._new[key] = result
        return result
