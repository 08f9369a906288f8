"""The passages of a domain: `corpus.jsonl`, a line each, as BM25 reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from zs_env.engines.retrieval.corpus import read_passages
from zs_env.errors import ConfigError
from zs_env.files import write_text

__all__ = ["CORPUS", "TRAIN_CORPUS", "Passage", "read_corpus", "write_corpus"]

CORPUS = "corpus.jsonl"
TRAIN_CORPUS = "corpus_train.jsonl"
"""The passages that a simulator may learn from: those of no document with questions of dev or test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One passage.

    Attributes:
        id: Unique in its corpus.
        title: What it is about: file and section, or an article's title.
        text: Its text; paragraphs and table rows are lines.
        source: The document that it is from: a file's path in its folder, or an article's title. Questions are split
            by it.
    """

    id: str
    title: str
    text: str
    source: str


def write_corpus(path: Path, passages: Iterable[Passage]) -> None:
    """Write a corpus, whole or not at all."""
    write_text(path, "".join(json.dumps(asdict(passage), ensure_ascii=False) + "\n" for passage in passages))


def read_corpus(path: str | Path) -> list[Passage]:
    """Read the passages of any corpus that BM25 reads.

    One without ids gets its positions, as BM25 gives them; one without sources is split by titles.

    Raises:
        ConfigError: There is no such file, a line can't be read, an id comes twice, or there is no passage.
    """
    path = Path(path)
    found: dict[str, Passage] = {}
    for _, line, passage in read_passages(path):
        if passage is None:
            continue
        position = str(len(found))
        key = position if passage.id is None else passage.id
        if key in found:
            raise ConfigError(f"{path} has the id {key!r} twice: ids of passages are unique.")
        source = _source(line) or passage.title or key
        found[key] = Passage(id=key, title=passage.title or "", text=passage.text, source=source)
    if not found:
        raise ConfigError(f"{path} holds no passages.")
    return list(found.values())


def _source(line: bytes) -> str | None:
    try:
        row = json.loads(line)
    except ValueError:  # a line of a .tsv
        return None
    source = row.get("source") if isinstance(row, dict) else None
    return source if isinstance(source, str) and source.strip() else None
