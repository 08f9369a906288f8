"""What makes two searches the same, and results as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from zs_env.types import Document, SearchEngine, SearchRequest, SearchResult

__all__ = ["from_json", "request_key", "to_json", "uses_draw", "without_secrets"]

_FORMAT = 1

_SECRETS = (
    re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+"),
    re.compile(r"(?i)((?:api[_-]?key|access[_-]?token|token|key|secret|password)['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;)}]+"),
    re.compile(r"()\bsk-[\w-]{8,}"),
    re.compile(r"(://)[^/\s@]+@"),
)


def uses_draw(engine: SearchEngine) -> bool:
    """Whether answers depend on the draw (question, quality, seed); an engine may say no by `uses_draw = False`."""
    return bool(getattr(engine, "uses_draw", True))


def request_key(request: SearchRequest, *, engine: str = "", draw: bool = True) -> str:
    """A hash of all that an answer depends on: equal for equal requests, in every process and version of Python.

    Args:
        request: The search.
        engine: The engine's name and fingerprint, or whatever tells it from others.
        draw: Whether the question (id, text, golden answers, metadata), the quality and the seed count. They do for
            simulators. A search API or an index answers a query the same whatever was drawn.

    The chance of noise isn't part of it: the quality that was drawn by it is.
    """
    parts: list[Any] = [_FORMAT, engine, request.query, int(request.topk)]
    if draw:
        question = request.question
        parts += [question.id, question.question, list(question.golden_answers), _plain(question.metadata)]
        parts += [request.quality, int(request.seed)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def _plain(metadata: Mapping[str, Any]) -> Any:
    try:
        json.dumps(dict(metadata), sort_keys=True, default=repr)
    except (TypeError, ValueError):  # keys of several types, or a circle: no plain JSON
        return repr(metadata)
    return dict(metadata)


def to_json(result: SearchResult) -> dict[str, Any]:
    """A result in plain JSON types; `from_json` gives an equal one back.

    Raises:
        TypeError: Its metadata are not of plain JSON types.
    """
    record: dict[str, Any] = {
        "documents": [
            {"text": document.text, "title": document.title, "metadata": _mapping(document.metadata)}
            for document in result.documents
        ],
        "engine": result.engine,
        "supports_query": result.supports_query,
        "error": result.error,
        "latency_s": result.latency_s,
        "cost": result.cost,
        "cached": result.cached,
        "metadata": _mapping(result.metadata),
    }
    return record


def _mapping(metadata: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if metadata is None else dict(metadata)


def from_json(record: Mapping[str, Any]) -> SearchResult:
    """The result that `to_json` was given.

    Raises:
        KeyError, TypeError: It is no such record.
    """
    documents = tuple(Document(item["text"], item["title"], item["metadata"]) for item in record["documents"])
    others = {name: record[name] for name in ("engine", "supports_query", "error", "latency_s", "cost", "cached")}
    return SearchResult(documents=documents, metadata=record["metadata"], **others)


def without_secrets(text: str) -> str:
    """A text with what looks like a key, a token or a password taken out."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1***" if pattern.groups and "@" not in pattern.pattern else r"\1***@", text)
    return text
