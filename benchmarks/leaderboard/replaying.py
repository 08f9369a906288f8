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

__all__ = ["Replay", "ReplayPart", "ReplayedEngine"]

SCHEMA = "zerosearch.replies/1"


class Replay:
    """The folder, for one command at a time.

    Args:
        folder: Where it is; it is made if it isn't there.
        only: Whether what isn't in it fails instead of being asked.

    Attributes:
        folder: Where it is.
        only: See above.
        parts: Those of the evaluations of this command.

    Raises:
        ConfigError: A file of it is something else, is being written by another command, or can't be written.
    """

    def __init__(self, folder: Path, *, only: bool = False) -> None:
        self.folder, self.only = folder, only
        self.parts: list[ReplayPart] = []
        self._lock = threading.Lock()
        self._file = KeptFile(folder / "replies.jsonl", {"schema": SCHEMA}, instead="name another folder with --replay")
        self._replies: dict[str, dict[str, Any]] = {row["key"]: row["reply"] for row in self._file.rows}
        self._file.rows.clear()

    def part(self, agent: str, engine: SearchEngine, identity: Mapping[str, Any]) -> ReplayPart:
        """What belongs to an agent on an engine.

        Args:
            agent: The agent's name.
            engine: What answers searches that aren't there.
            identity: What tells it from others, beside its name and fingerprint: its options.
        """
        mark = _hash([engine.name, getattr(engine, "fingerprint", None), identity])
        plain = re.sub(r"[^a-z0-9]+", "-", engine.name.lower()).strip("-")
        around = ReplayedEngine(engine, self.folder / f"searches-{plain}-{mark}.jsonl", only=self.only)
        self.parts.append(ReplayPart(self, f"{_hash([agent, mark])}:", around))
        return self.parts[-1]

    def find(self, key: str) -> dict[str, Any] | None:
        """A reply; None if it isn't there."""
        with self._lock:
            return self._replies.get(key)

    def add(self, key: str, reply: Mapping[str, Any]) -> None:
        """Keep a reply.

        Raises:
            ConfigError: It can't be written.
        """
        with self._lock:
            if key not in self._replies:
                self._replies[key] = dict(reply)
                self._file.write([{"key": key, "reply": self._replies[key]}])

    def told(self) -> str:
        """How much was there, and how much was asked for, in a sentence."""
        replies, asked = (sum(getattr(part, name) for part in self.parts) for name in ("num_found", "num_asked"))
        found, sent = (sum(getattr(part.engine, name) for part in self.parts) for name in ("num_found", "num_asked"))
        return (
            f"{self.folder}: {replies} replies and {found} searches were there; {asked} and {sent} were asked for and "
            "added."
        )

    def close(self) -> None:
        """Close all its files."""
        self._file.close()
        for part in self.parts:
            part.engine.close()


class ReplayPart:
    """What of a folder belongs to one agent on one engine: nothing is shared with others, for a reply that another
    evaluation waited for would make this one seem faster than it is.

    Attributes:
        engine: The engine, answering from the folder what was searched before.
        num_found: Replies that were there.
        num_asked: Replies that weren't, and were added.
    """

    def __init__(self, replay: Replay, scope: str, engine: ReplayedEngine) -> None:
        self.engine = engine
        self.num_found = self.num_asked = 0
        self._replay, self._scope = replay, scope

    def lookup(self, key: str) -> dict[str, Any] | None:
        """What a model wrote; None if it has to be asked.

        Raises:
            ServiceError: It isn't there, and nobody may be asked.
        """
        found = self._replay.find(self._scope + key)
        if found is not None:
            self.num_found += 1
        elif self._replay.only:
            raise ServiceError(
                f"The replay {self._replay.folder.name!r} doesn't hold what the model wrote here, and --replay-only "
                "asks no one. A replay asks the same only with the settings, questions, seed and weights of the run "
                "that was recorded."
            )
        return found

    def store(self, key: str, reply: Mapping[str, Any]) -> None:
        """Add what a model wrote.

        Raises:
            ConfigError: It can't be written.
        """
        self.num_asked += 1
        self._replay.add(self._scope + key, reply)

    def record(self) -> dict[str, int]:
        """How much was there already, so that nobody waited for it."""
        return {"replies": self.num_found, "searches": self.engine.num_found}


def _hash(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()[:12]


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
        self._writer = RecordWriter(
            path, {"engine": self.name, "fingerprint": self.fingerprint, "draw": self.uses_draw}
        )
        self._reader = RecordReader(path)
        self._lock = threading.Lock()
        self._new: dict[str, SearchResult] = {}
        self.num_found = self.num_asked = 0

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _steps(self, requests: list[SearchRequest]) -> Steps:
        keys = [request_key(request, draw=self.uses_draw) for request in requests]
        found = {key: result for key in set(keys) if (result := self._look_up(key)) is not None}
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        with self._lock:
            self.num_found += sum(key in found for key in keys)
        if self._only:
            why = "The replay doesn't hold this search, and --replay-only sends none."
            return [found[key] if key in found else failed(self.name, why, "missing") for key in keys]
        results = (yield list(missing.values())) if missing else []
        for (key, request), result in zip(missing.items(), results, strict=True):
            found[key] = self._add(key, request, result)
        with self._lock:
            self.num_asked += len(missing)
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
