"""A language model judges whether documents help: one word a document, kept as it comes.

The judge sees the question, the query and the document, not the golden answers, so that its word is another than
that of looking for them. A reply without a verdict is asked again, in the same chat, a few times; then there is none.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from zs_env.actions import clean_text
from zs_env.curriculum import check_probability, check_whole
from zs_env.engines.around.keys import without_secrets
from zs_env.engines.llm.client import combine_seed
from zs_env.errors import ChatError, ConfigError
from zs_env.measuring.cases import search_seed
from zs_env.tuning.keeping import KeptFile
from zs_env.tuning.labelling import whole_text
from zs_env.tuning.models import AskedModel
from zs_env.tuning.records import CollectedSearch
from zs_env.types import Document
from zs_env.workers import run_workers

__all__ = [
    "VERDICTS",
    "JudgeSettings",
    "Judged",
    "judge_identity",
    "judge_searches",
    "key_of",
    "load_prompt",
    "parse_verdict",
    "verdicts_path",
]

VERDICTS = "zerosearch.verdicts/1"
MIN_DOCUMENTS = 20
"""So many documents are judged before the failure rate may end the run."""

_AGAIN = "Reply with one word alone: useful or noisy."
_PLACEHOLDER = re.compile(r"\{(question|query|answers|document)\}")
_SAID_EVERY_S = 10.0
_SAID_CHARS = 200

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_CHOICE = re.compile(r"\b(?:useful,? or (?:is it )?noisy|noisy,? or (?:is it )?useful)\b")
_SAYS = re.compile(
    r"\b(?:not|never|hardly|barely|isn't|wasn't|aren't)\s+(?:\w+\s+){0,2}?(?P<not_good>useful|helpful|relevant)\b"
    r"|\bnot\s+(?:\w+\s+)?(?P<not_bad>noisy|noise|useless)\b"
    r"|\b(?P<bad>noisy|noise|useless|unhelpful|irrelevant)\b(?! (?:if|when)\b)"
    r"|\b(?P<good>useful|helpful|relevant)\b(?! (?:if|when)\b)"  # small models say the rule back
)
_GOOD = ("good", "not_bad")
_FIRST = re.compile(r"\W*(yes|no)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """How documents are judged.

    Attributes:
        prompt: The text of the prompt; it holds `{document}`, and may hold `{question}`, `{query}` and `{answers}`.
        max_asks: How often one document is asked about until there is a verdict.
        max_document_chars: The most characters of a document that the judge reads.
        seed: Of whatever the judge draws.
        concurrency: Documents at the same time.
        max_failures: The share of documents whose judge fails above which the run stops, in [0, 1].
    """

    prompt: str
    max_asks: int = 3
    max_document_chars: int = 4_000
    seed: int = 0
    concurrency: int = 8
    max_failures: float = 0.25

    def __post_init__(self) -> None:
        for name, least in (("max_asks", 1), ("max_document_chars", 100), ("seed", 0), ("concurrency", 1)):
            check_whole(name, getattr(self, name), least=least)
        check_probability("max_failures", self.max_failures)
        if "{document}" not in self.prompt:
            raise ConfigError(
                f"A judge's prompt must hold '{{document}}', which the document replaces; got {self.prompt!r:.100}."
            )


@dataclass(slots=True)
class Judged:
    """What a judge said.

    Attributes:
        rows: By document (`key_of`): `useful` (true, false, or None without a verdict), `asks`, and what it `said`.
        failures: What failed requests of this run said, and how often.
    """

    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    def of(self, search: CollectedSearch) -> tuple[list[bool | None], list[str | None]]:
        """For each document of a search its verdict, and why there is none."""
        rows = [self.rows.get(key_of(search, document)) for document in search.documents]
        verdicts = [None if row is None else row["useful"] for row in rows]
        why = ["judge failed" if row is None else "no verdict" if row["useful"] is None else None for row in rows]
        return verdicts, why


def load_prompt(path: Path | None = None) -> str:
    """The judge's prompt: the package's own, or that of a file.

    Raises:
        ConfigError: The file can't be read.
    """
    if path is None:
        return (resources.files("zs_env.tuning") / "prompts" / "judge.txt").read_text(encoding="utf-8").strip()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"The judge's prompt {str(path)!r} can't be read: {error}.") from error


def key_of(search: CollectedSearch, document: Document) -> str:
    """A hash of what is judged: a document that comes again for the same question and query is judged once."""
    said = [search.question.question, list(search.question.golden_answers), search.query, whole_text(document)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24]


def verdicts_path(path: Path) -> Path:
    """Where verdicts are kept, beside the labels."""
    return path.with_name(f"{path.stem}.verdicts.jsonl")


def parse_verdict(text: str) -> bool | None:
    """Whether a reply says useful; None if it says neither, or both.

    Thoughts between tags are passed over. What follows the last "verdict" counts, if there is one; else the whole reply
    must say one thing, or begin with one.

    Examples:
        >>> [parse_verdict(text) for text in ("**Useful**", "Noisy.", "It isn't useful at all", "No, it is about cats")]
        [True, False, False, False]
        >>> parse_verdict("<think>useful?</think>I can't tell") is None
        True
    """
    plain = _THOUGHT.sub(" ", text)
    plain = plain.rpartition("</think>")[2].casefold().replace("’", "'")
    plain = _CHOICE.sub(" ", " ".join(plain.split()))
    _, verdict, rest = plain.rpartition("verdict")
    if verdict and (said := _SAYS.search(rest)):
        return said.lastgroup in _GOOD
    first = _FIRST.match(plain)
    if first is not None:
        return first[1] == "yes"
    found = list(_SAYS.finditer(plain))
    if found and (
        len({each.lastgroup in _GOOD for each in found}) == 1 or not re.search(r"\w", plain[: found[0].start()])
    ):
        return found[0].lastgroup in _GOOD
    return None


def judge_searches(
    searches: Sequence[CollectedSearch],
    model: AskedModel,
    path: Path,
    settings: JudgeSettings,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Judged:
    """Have every document judged; verdicts that a file holds aren't asked for again.

    Args:
        searches: What was collected.
        model: The judge.
        path: The file of verdicts.
        settings: How.
        say: Is told how it goes.

    Raises:
        ConfigError: The file is of another judge, or too many requests fail.
    """
    wanted = {key_of(search, document): (search, document) for search in searches for document in search.documents}
    kept = KeptFile(path, {"schema": VERDICTS, **judge_identity(model, settings)})
    judged = Judged(rows={row["key"]: row for row in kept.rows if "key" in row and "useful" in row})
    try:
        waiting = [(key, *pair) for key, pair in wanted.items() if key not in judged.rows]
        if len(waiting) < len(wanted):
            say(f"{len(wanted) - len(waiting)} of {len(wanted)} documents are judged already")
        if waiting:
            asyncio.run(_judge_all(waiting, model, settings, kept, judged, say))
    finally:
        kept.close()
    return judged


def judge_identity(model: AskedModel, settings: JudgeSettings) -> dict[str, Any]:
    """What verdicts depend on, in plain JSON types."""
    names = ("prompt", "max_asks", "max_document_chars", "seed")
    return {"judge": model.identity, **{name: getattr(settings, name) for name in names}}


async def _judge_all(
    waiting: Iterable[tuple[str, CollectedSearch, Document]],
    model: AskedModel,
    settings: JudgeSettings,
    kept: KeptFile,
    judged: Judged,
    say: Callable[[str], None],
) -> None:
    rows, began = list(waiting), time.perf_counter()
    pending, done, said_at = iter(rows), 0, began

    async def worker() -> None:
        nonlocal done, said_at
        for key, search, document in pending:
            try:
                useful, asks, said = await _judge_one(key, search, document, model, settings)
            except ChatError as error:
                judged.failures[" ".join(without_secrets(str(error)).split())] += 1
            else:
                row = {"key": key, "useful": useful, "asks": asks, "said": said[:_SAID_CHARS]}
                kept.write([row])
                judged.rows[key] = row
            done += 1
            if judged.failures.total() > settings.max_failures * max(done, min(MIN_DOCUMENTS, len(rows))):
                raise ConfigError(
                    f"The judge failed for {judged.failures.total()} of {done} documents, more than the share of "
                    f"{settings.max_failures:g} that is allowed (--max-failures), so the run was ended. It mostly "
                    f"says: {judged.failures.most_common(1)[0][0]}. Verdicts are kept: mend that, and run the same "
                    "command again."
                )
            if time.perf_counter() - said_at > _SAID_EVERY_S:
                said_at = time.perf_counter()
                say(f"{done} of {len(rows)} documents judged, {said_at - began:.0f} s")

    try:
        await run_workers(worker, min(settings.concurrency, len(rows)))
    finally:
        await model.backend.aclose()


async def _judge_one(
    key: str, search: CollectedSearch, document: Document, model: AskedModel, settings: JudgeSettings
) -> tuple[bool | None, int, str]:
    """The verdict, how often was asked, and the last reply."""
    messages = [{"role": "user", "content": _fill(search, document, settings)}]
    seed, said = search_seed(settings.seed, key), ""
    for ask in range(settings.max_asks):
        reply = await model.backend.chat(messages, seed=combine_seed(seed, ask), options=model.options())
        said = reply.text
        useful = parse_verdict(said)
        if useful is not None:
            return useful, ask + 1, said
        messages = [*messages[:1], {"role": "assistant", "content": said or "…"}, {"role": "user", "content": _AGAIN}]
    return None, settings.max_asks, said


def _fill(search: CollectedSearch, document: Document, settings: JudgeSettings) -> str:
    values = {
        "question": search.question.question,
        "query": search.query,
        "answers": " or ".join(dict.fromkeys(search.question.golden_answers)),
        "document": whole_text(document)[: settings.max_document_chars].replace('"""', "'''"),
    }
    lines = {name: " ".join(value.split()) for name, value in values.items()}
    return clean_text(_PLACEHOLDER.sub(lambda match: lines[match[1]], settings.prompt))
