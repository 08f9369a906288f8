"""Asks an engine, so many searches at a time, and keeps what it says in a file, so that a stopped run goes on."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.engines.around.base import ask
from zs_env.engines.around.keys import from_json, request_key, to_json, without_secrets
from zs_env.engines.around.records import RecordWriter
from zs_env.errors import ConfigError
from zs_env.measuring.cases import Case
from zs_env.types import SearchEngine, SearchResult
from zs_env.workers import run_workers

__all__ = ["MAX_FAILURES", "Answered", "run_cases"]

MAX_FAILURES = 20
"""So many failed searches in a row, with not one that didn't fail, end the run: the engine isn't there."""

_SAID_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of one search.

    Attributes:
        result: The result.
        seconds: How long it took, as its caller sees it: with waiting inside the engine.
        session: Which run of the command it was asked in, from 0.
        at_s: When it came, in seconds since that run began to ask.
    """

    result: SearchResult
    seconds: float
    session: int
    at_s: float


class _Kept:
    """The searches that a file holds: the last answer of each."""

    def __init__(self, path: Path | None, header: dict[str, Any]) -> None:
        self.answered: dict[str, Answered] = {}
        self._writer: RecordWriter | None = None
        if path is not None:
            self._writer = RecordWriter(path, header)
            for line in path.read_text(encoding="utf-8").splitlines()[1:]:
                try:
                    row = json.loads(line)
                    found = {name: row[name] for name in ("seconds", "session", "at_s")}
                    self.answered[row["key"]] = Answered(result=from_json(row["result"]), **found)
                except (ValueError, KeyError, TypeError):
                    continue  # a line that a kill cut off: that search is asked again
        self.session = 1 + max((answered.session for answered in self.answered.values()), default=-1)

    def add(self, key: str, case: Case, answered: Answered) -> None:
        self.answered[key] = answered
        if self._writer is not None:
            row: dict[str, Any] = {"key": key, "query": case.request.query, "question": case.request.question.id}
            row |= {"quality": case.request.quality, "result": to_json(answered.result), "seconds": answered.seconds}
            self._writer.write([row | {"session": answered.session, "at_s": answered.at_s}])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def run_cases(
    cases: Sequence[Case],
    engine: SearchEngine,
    *,
    concurrency: int,
    path: Path | None = None,
    retry_failed: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Answered]:
    """Ask an engine every search.

    Args:
        cases: The searches.
        engine: What answers them.
        concurrency: How many are asked at the same time.
        path: A file that keeps the answers; those that it holds are not asked again.
        retry_failed: Whether failed ones are.
        say: Is told how it goes.

    Returns:
        The answers, in order.

    Raises:
        ConfigError: The file is of another engine, or the engine fails whatever it is asked.
    """
    header = {"engine": engine.name, "fingerprint": getattr(engine, "fingerprint", None), "draw": True}
    kept = _Kept(path, header)
    keys = [request_key(case.request) for case in cases]
    missing = [
        (key, case)
        for key, case in zip(keys, cases, strict=True)
        if key not in kept.answered or (retry_failed and kept.answered[key].result.error is not None)
    ]
    if len(missing) < len(cases):
        say(f"{len(cases) - len(missing)} of {len(cases)} searches are kept from before")
    try:
        if missing:
            asyncio.run(_ask_all(missing, engine, concurrency, kept, say))
    finally:
        kept.close()
    return [kept.answered[key] for key in keys]


async def _ask_all(
    missing: Sequence[tuple[str, Case]],
    engine: SearchEngine,
    concurrency: int,
    kept: _Kept,
    say: Callable[[str], None],
) -> None:
    waiting, began = iter(missing), time.perf_counter()
    done = failures = 0
    said_at = began

    async def worker() -> None:
        nonlocal done, failures, said_at
        for key, case in waiting:
            start = time.perf_counter()
            (result,) = await ask(engine, [case.request])
            end = time.perf_counter()
            kept.add(key, case, Answered(result=result, seconds=end - start, session=kept.session, at_s=end - began))
            done += 1
            failures = failures + 1 if result.error is not None else 0
            if failures >= MAX_FAILURES and failures == done:
                raise ConfigError(
                    f"The first {failures} searches all failed, so the run was ended. The last one says: "
                    f"{without_secrets(result.error or '')}. Mend that, and run it again with --retry-failed."
                )
            if end - said_at > _SAID_EVERY_S:
                said_at = end
                say(f"{done} of {len(missing)} searches, {end - began:.0f} s")
            await asyncio.sleep(0)  # an engine that never waits must let the others in, and Ctrl-C

    try:
        await run_workers(worker, min(concurrency, len(missing)))
    finally:
        closing = getattr(engine, "aclose", None)
        closed = closing() if callable(closing) else None
        if inspect.isawaitable(closed):
            await closed
