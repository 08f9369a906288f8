"""Reads what SerpAPI found: documents, nothing, or an error that says what to do. Pure functions.

A reply says how it went in `search_metadata.status` and, if it failed *or* found nothing, in `error`. Documents come
from `answer_box`, `knowledge_graph` and `organic_results`, in that order; boxes have a shape for each kind of answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from zs_env.actions import clean_text
from zs_env.types import Document

__all__ = ["found_nothing", "is_final", "read_documents"]

_NOTHING = re.compile(r"(?i)n[o']t returned any results|no results|fully empty")
_FINAL = re.compile(
    r"(?i)run out|ran out|invalid api key|no valid api key|missing .*api.?key|account .*(?:deleted|suspended|disabled)"
)

# What a box says first, in this order; then whatever else it has of plain values.
_SAID = ("answer", "result", "snippet", "definitions", "description", "list", "table", "contents", "formatted")
_SILENT = frozenset(
    (
        "about_page_link", "about_page_serpapi_link", "cached_page_link", "displayed_link", "favicon", "header_images",
        "image", "images", "kgmid", "knowledge_graph_search_link", "link", "people_also_search_for", "position",
        "serpapi_knowledge_graph_search_link", "serpapi_link", "snippet_highlighted_words", "source", "thumbnail",
        "thumbnails", "title", "type", "web_results", *_SAID,
    )
)  # fmt: skip
_SILENT_ENDS = ("_link", "_links", "_stick", "_id", "_token", "_url")
_MAX_FACTS = 12
_MAX_CHARS = 4_000


def is_final(said: str) -> bool:
    """Whether an error is about the account or its key, so that asking again won't help."""
    return bool(_FINAL.search(said))


def found_nothing(payload: Mapping[str, Any]) -> bool:
    """Whether a reply with an `error` says that the search went well and found nothing."""
    metadata = payload.get("search_metadata")
    status = metadata.get("status") if isinstance(metadata, Mapping) else None
    said = str(payload.get("error"))
    if is_final(said) or status not in (None, "Success", "Cached"):
        return False
    return status is not None or bool(_NOTHING.search(said))


def read_documents(
    payload: Mapping[str, Any], topk: int, *, answer_box: bool = True, knowledge_graph: bool = True
) -> tuple[Document, ...]:
    """The documents of a reply, at most `topk`, each text once.

    Args:
        payload: The reply.
        topk: How many are wanted.
        answer_box: Whether Google's own answer is the first of them.
        knowledge_graph: Whether what it knows of a thing by itself comes next.
    """
    boxes: list[tuple[str, Any]] = []
    if answer_box:
        boxes.append(("answer_box", payload.get("answer_box")))
    if knowledge_graph:
        boxes.append(("knowledge_graph", payload.get("knowledge_graph")))
    found = [_read_box(box, kind) for kind, given in boxes for box in _first(given)]
    organic = payload.get("organic_results")
    found += [_read_result(item) for item in (organic if isinstance(organic, list) else ())]
    return tuple(_each_once(document for document in found if document is not None))[:topk]


def _first(given: Any) -> Iterator[Mapping[str, Any]]:
    """A box; some replies have a list of them."""
    given = given[0] if isinstance(given, list) and given else given
    if isinstance(given, Mapping):
        yield given


def _each_once(documents: Iterable[Document]) -> Iterator[Document]:
    """Leave out documents that say what one before them said, or are of the same page as another result."""
    texts: set[str] = set()
    pages: set[str] = set()
    for document in documents:
        text = " ".join(document.text.casefold().split())
        kind = (document.metadata or {}).get("kind")
        page = str((document.metadata or {}).get("url", "")).partition("#")[0] if kind == "organic" else ""
        if text in texts or page in pages:
            continue
        texts.add(text)
        if page:
            pages.add(page)
        yield document


def _read_result(item: Any) -> Document | None:
    """One organic result: its snippet under its title. Without a snippet: what it says of itself, or the title."""
    if not isinstance(item, Mapping):
        return None
    title = _line(item.get("title"))
    text = _text(item.get("snippet")) or _rich(item.get("rich_snippet")) or _text(item.get("snippet_highlighted_words"))
    date = _line(item.get("date"))
    if text and date and not text.startswith(date):
        text = f"{date} — {text}"
    if not text:
        title, text = "", title
    return _document(title, text, item, "organic")


def _rich(given: Any) -> str:
    """What stands around a result that has no snippet: ratings, prices, dates."""
    parts = []
    for place in ("top", "bottom"):
        row = given.get(place) if isinstance(given, Mapping) else None
        if isinstance(row, Mapping):
            parts.append(_text(row.get("extensions")))
    return " · ".join(part for part in parts if part)


def _read_box(box: Mapping[str, Any], kind: str) -> Document | None:
    """An answer box or a knowledge graph: what it says, then its facts by name."""
    title = _line(box.get("title"))
    said = [_text(box.get(name)) for name in _SAID]
    if kind == "knowledge_graph":
        said.insert(0, _line(box.get("type")))
    parts = list(dict.fromkeys(part for part in said if part))
    facts = [(name, _fact(value)) for name, value in box.items() if isinstance(name, str) and _speaks(name)]
    parts += [f"{name.replace('_', ' ').capitalize()}: {value}" for name, value in facts if value][:_MAX_FACTS]
    text = ". ".join(part.rstrip(".") if i < len(parts) - 1 else part for i, part in enumerate(parts))
    return _document(title, text, box, kind)


def _speaks(name: str) -> bool:
    return name not in _SILENT and not name.endswith(_SILENT_ENDS)


def _fact(value: Any) -> str:
    """A fact's value: plain, or a mapping of plain ones, such as the two sides of a translation."""
    if isinstance(value, Mapping):
        inner = (_line(value.get(name)) for name in value if isinstance(name, str) and _speaks(name))
        return ", ".join(part for part in inner if part)
    return _line(value)


def _text(value: Any) -> str:
    """Text from a text, a list, or a table (a list of rows)."""
    if isinstance(value, Mapping):
        return _text(value.get("table"))
    if not isinstance(value, list):
        return _line(value)
    rows = [", ".join(filter(None, map(_line, row))) if isinstance(row, list) else _line(row) for row in value]
    return "; ".join(row for row in rows if row)


def _line(value: Any) -> str:
    """A plain value on one line."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return " ".join(clean_text(str(value)).split())


def _document(title: str, text: str, item: Mapping[str, Any], kind: str) -> Document | None:
    if not text:
        return None
    metadata: dict[str, Any] = {"kind": kind}
    if url := _line(item.get("link")):
        metadata["url"] = url[:_MAX_CHARS]
    if date := _line(item.get("date")):
        metadata["date"] = date
    return Document(text[:_MAX_CHARS], title or None, metadata)
