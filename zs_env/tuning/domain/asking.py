"""Questions that a language model writes: one a passage, asked again without the passage, and all of it kept."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.errors import ChatError, ConfigError
from zs_env.matching import find_matcher
from zs_env.tuning.domain.candidates import Candidate
from zs_env.tuning.domain.choosing import problem_of
from zs_env.tuning.domain.corpus import Passage
from zs_env.tuning.domain.reports import set_aside
from zs_env.tuning.domain.splitting import order_of
from zs_env.tuning.keeping import KeptFile
from zs_env.tuning.models import AskedModel

__all__ = ["SCHEMA", "Asked", "ask_model", "parse_pair"]

SCHEMA = "zerosearch.domain_asked/1"
MAX_FAILURES = 20
"""So many requests that fail in a row end the run: the model isn't there."""
MAX_PASSAGE_CHARS = 4_000

_WRITE = (
    {
        "role": "system",
        "content": "You write exam questions. You get a passage, and write one question that it answers, and the "
        "answer: a name, a number, a date or a few words that stand in the passage word for word. The question says "
        "what it is about, so that it can be understood without the passage, and doesn't hold the answer.",
    },
    {
        "role": "user",
        "content": "Passage: Lake Titicaca\nLake Titicaca lies in the Andes, on the border of Peru and Bolivia. It is "
        "3,812 metres above the sea.",
    },
    {"role": "assistant", "content": "Question: How high above the sea is Lake Titicaca?\nAnswer: 3,812 metres"},
    {
        "role": "user",
        "content": "Passage: Pressure cookers – Safety\nThe valve of a pressure cooker opens by itself when the "
        "pressure gets too high. It is to be cleaned after each use.",
    },
    {
        "role": "assistant",
        "content": "Question: Which part of a pressure cooker opens by itself when the pressure gets too high?\n"
        "Answer: valve",
    },
)
_ANSWER = {"role": "system", "content": "Answer the question in a few words. If you don't know, guess."}
_PAIR = re.compile(r"question\s*\**:\**\s*(.+?)\s*\n+\s*\**answer\s*\**:\**\s*([^\n]+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a model wrote.

    Attributes:
        candidates: What can be read of it; whether it holds is checked with all others.
        counts: How many passages were asked about, and what became of them.
    """

    candidates: tuple[Candidate, ...]
    counts: Mapping[str, int]


def parse_pair(reply: str) -> tuple[str, str] | None:
    r"""The question and the answer of a reply; None if it has none.

    Examples:
        >>> parse_pair("Question: Who founded Rome?\nAnswer: Romulus.")
        ('Who founded Rome?', 'Romulus')
        >>> parse_pair("I can't.") is None
        True
    """
    found = _PAIR.search(reply)
    if found is None:
        return None
    question = " ".join(found[1].split())
    answer = " ".join(found[2].split()).strip("\"'“”*").rstrip(".").strip("\"'“”* ")
    return (question, answer) if question and answer else None


def ask_model(
    passages: Sequence[Passage],
    model: AskedModel,
    path: Path,
    *,
    corpus: str,
    limit: int | None,
    seed: int,
    max_answer_words: int,
    concurrency: int,
    again: bool,
    say: Callable[[str], None],
) -> Asked:
    """Ask a model about passages that it wasn't asked about before.

    Args:
        passages: The corpus.
        model: The model.
        path: Where replies are kept: a run that was stopped goes on.
        corpus: The corpus' fingerprint.
        limit: About so many passages, drawn by the seed; all where left out.
        seed: Of the draw, and of the model's.
        max_answer_words: Longer answers aren't asked for again.
        concurrency: How many requests at the same time.
        again: Whether a file of another model or corpus is put aside, and a new one begun.
        say: Is told how it goes.

    Raises:
        ConfigError: The file is of another model or corpus, or the model can't be reached.
    """
    prompt = hashlib.blake2b(repr((_WRITE, _ANSWER)).encode(), digest_size=8).hexdigest()
    header = {"schema": SCHEMA, "model": model.identity, "corpus": corpus, "prompt": prompt, "seed": seed}
    chosen = sorted(passages, key=lambda passage: order_of(passage.id, seed))[:limit]
    if again:
        set_aside(path, header)
    kept = KeptFile(path, header)
    try:
        rows = {row["passage"]: row for row in kept.rows if isinstance(row.get("passage"), str)}
        missing = [passage for passage in chosen if passage.id not in rows]
        say(f"{len(chosen) - len(missing)} of {len(chosen)} passages were asked about before")
        asyncio.run(_Asking(model, kept, rows, seed, max_answer_words, len(missing), say).all(missing, concurrency))
    finally:
        kept.close()
    return _read([rows[passage.id] for passage in chosen if passage.id in rows])


class _Asking:
    """Asks about passages, so many at a time, and writes each row as it comes."""

    def __init__(
        self,
        model: AskedModel,
        kept: KeptFile,
        rows: dict[str, dict[str, Any]],
        seed: int,
        max_answer_words: int,
        num_missing: int,
        say: Callable[[str], None],
    ) -> None:
        self._model, self._kept, self._rows, self._seed = model, kept, rows, seed
        self._max_answer_words = max_answer_words
        self._num_missing = num_missing
        self._say = say
        self._num_done = self._failed_in_row = 0

    async def all(self, passages: Sequence[Passage], concurrency: int) -> None:
        waiting = iter(passages)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(passages))):
                    group.create_task(self._work(waiting))
        except* ConfigError as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._model.backend.aclose()

    async def _work(self, waiting: Any) -> None:
        for passage in waiting:
            try:
                row = await self._about(passage)
            except ChatError as error:
                self._failed_in_row += 1
                if self._failed_in_row >= MAX_FAILURES:
                    raise ConfigError(
                        f"{MAX_FAILURES} requests in a row failed, the last one with: {error} What came before is kept."
                    ) from error
                continue
            self._failed_in_row = 0
            self._kept.write([row])
            self._rows[passage.id] = row
            self._num_done += 1
            if self._num_done % 10 == 0:
                self._say(f"{self._num_done} of {self._num_missing} passages asked about")

    async def _about(self, passage: Passage) -> dict[str, Any]:
        text = f"{passage.title}\n{passage.text}"[:MAX_PASSAGE_CHARS]
        seed = int.from_bytes(order_of(passage.id, self._seed)[:4], "big") >> 1
        reply = await self._chat([*_WRITE, {"role": "user", "content": f"Passage: {text}"}], seed)
        row: dict[str, Any] = {"passage": passage.id, "reply": reply}
        pair = parse_pair(reply)
        if pair is None:
            return row
        candidate = Candidate(question=pair[0], answers=(pair[1],), pattern="model", passage=passage.id)
        if problem_of(candidate, passage, self._max_answer_words) is None:
            row["closed_book"] = await self._chat([_ANSWER, {"role": "user", "content": pair[0]}], seed)
        return row

    async def _chat(self, messages: Sequence[Mapping[str, str]], seed: int) -> str:
        return (await self._model.backend.chat(messages, seed=seed, options=self._model.options())).text


def _read(rows: Sequence[Mapping[str, Any]]) -> Asked:
    candidates = []
    counts = Counter({"asked": len(rows), "no question in the reply": 0, "known without the passage": 0})
    for row in rows:
        pair = parse_pair(str(row.get("reply", "")))
        if pair is None:
            counts["no question in the reply"] += 1
            continue
        answer = row.get("closed_book")
        known = None if answer is None else find_matcher((pair[1],), pair[0]).is_held(str(answer))
        counts["known without the passage"] += bool(known)
        candidates.append(
            Candidate(question=pair[0], answers=(pair[1],), pattern="model", passage=row["passage"], closed_book=known)
        )
    return Asked(candidates=tuple(candidates), counts=dict(counts))
