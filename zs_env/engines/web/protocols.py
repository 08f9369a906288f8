r"""The two protocols of retrieval servers, both spoken on `/retrieve`: pure functions for clients and servers alike.

- Search-R1's: `{"queries": [...], "topk": 3, "return_scores": true}` gives `{"result": [[…], …]}`, a list a query, of
  `{"document": {"contents": "\"Title\"\ntext", …}, "score": 1.5}`; without scores, of documents alone.
- ZeroSearch's: `{"query": "…", "top_k": 5}` gives `[{"text": "…"}, …]`. Its client reads nothing but `text`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from zs_env.actions import clean_text
from zs_env.types import Document

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "as_document",
    "as_json",
    "is_reply",
    "read_search_r1",
    "read_zerosearch",
    "write_request",
]

Protocol = Literal["search-r1", "zerosearch"]

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
"""What a retrieval server may speak."""

_TEXT_NAMES = ("text", "contents", "content")
_NOT_METADATA = frozenset(("title", *_TEXT_NAMES))
_MAX_METADATA_CHARS = 2_000


class _OddError(ValueError):
    """What is odd about a reply."""


def write_request(protocol: Protocol, queries: Sequence[str], topk: int) -> dict[str, Any]:
    """The body of a request; ZeroSearch's protocol takes one query."""
    if protocol == "search-r1":
        return {"queries": list(queries), "topk": topk, "return_scores": True}
    [query] = queries
    return {"query": query, "top_k": topk}


def is_reply(payload: Any) -> Protocol | None:
    """The protocol of a reply, from its outer shape; None if it is of neither."""
    if isinstance(payload, list):
        return "zerosearch"
    return "search-r1" if isinstance(payload, dict) and isinstance(payload.get("result"), list) else None


def read_search_r1(payload: Any, num_queries: int, topk: int) -> list[tuple[Document, ...]]:
    """The documents of each query, at most `topk` of them.

    Raises:
        ValueError: It isn't one list a query, or holds something other than documents.
    """
    result = payload.get("result") if isinstance(payload, Mapping) else None
    if not isinstance(result, list):
        raise _OddError("without a list as 'result'")
    if len(result) != num_queries:
        raise _OddError(f"with {len(result)} lists of documents for {num_queries} queries")
    return [_read_list(items, topk) for items in result]


def read_zerosearch(payload: Any, topk: int) -> tuple[Document, ...]:
    """The documents of the query, at most `topk` of them.

    Raises:
        ValueError: It isn't a list of documents.
    """
    return _read_list(payload, topk)


def _read_list(items: Any, topk: int) -> tuple[Document, ...]:
    if not isinstance(items, list):
        raise _OddError(f"with {type(items).__name__} where a list of documents should be")
    found = (as_document(item) for item in items)
    return tuple(document for document in found if document is not None)[:topk]


def as_document(item: Any) -> Document | None:
    r"""A document from JSON, whichever protocol it came by; None if it has no text.

    Examples:
        >>> as_document({"document": {"contents": "\"Lima\"\nLima is in Peru."}, "score": 2.5})
        Document(text='Lima is in Peru.', title='Lima', metadata={'score': 2.5})
        >>> as_document({"text": "Lima is in Peru."})
        Document(text='Lima is in Peru.', title=None, metadata=None)

    Raises:
        ValueError: It is none.
    """
    inner = item.get("document", item) if isinstance(item, Mapping) else item
    if isinstance(inner, str):
        inner = {"contents": inner}
    if not isinstance(inner, Mapping):
        raise _OddError(f"with {type(inner).__name__} where a document should be")
    text = next((inner[name] for name in _TEXT_NAMES if isinstance(inner.get(name), str)), None)
    if text is None:
        raise _OddError("with a document that has neither 'text' nor 'contents'")
    title = inner.get("title") if isinstance(inner.get("title"), str) else None
    if title is None and ("text" not in inner or text == inner.get("contents")):
        title, text = _split(text)
    elif title and not ("text" in inner and "contents" in inner):
        text = _without_title(text, title)
    text = clean_text(text)
    if not text.strip():
        return None
    score = item.get("score") if isinstance(item, Mapping) else None
    metadata = {name: value for name, value in inner.items() if name not in _NOT_METADATA and _is_plain(value)}
    if _is_number(score):
        metadata["score"] = score
    return Document(text, clean_text(title) if title and title.strip() else None, metadata or None)


def _split(contents: str) -> tuple[str | None, str]:
    """Part `"Title"`, on a line of its own, from the text below it."""
    first, newline, rest = contents.partition("\n")
    if not newline or not rest.strip():
        return None, contents
    first = first.strip()
    quoted = len(first) >= 2 and first[0] == first[-1] == '"'
    return (first[1:-1] if quoted else first), rest


def _without_title(text: str, title: str) -> str:
    """A text without the title that stands on a line of its own before it."""
    for line in (title, f'"{title}"'):
        if text.startswith(f"{line}\n"):
            rest = text[len(line) + 1 :]
            return rest if rest.strip() else text
    return text


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_METADATA_CHARS and clean_text(value) == value
    return value is None or isinstance(value, bool) or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def as_json(protocol: Protocol, documents: Iterable[Document], *, scores: bool = True) -> list[Any]:
    r"""The documents of one query, as a server gives them.

    In Search-R1's protocol, `contents` has the title in quotes on a line of its own, an empty one where there is none,
    for its clients take the first line for the title in any case. In ZeroSearch's, where clients read `text` alone, it
    has the title on a line of its own. `title` and the metadata stand beside.

    Examples:
        >>> as_json("zerosearch", [Document("Lima is in Peru.", "Lima")])
        [{'title': 'Lima', 'text': 'Lima\nLima is in Peru.'}]
        >>> as_json("search-r1", [Document("Lima is in Peru.", "Lima", {"score": 2.5})])[0]["score"]
        2.5
    """
    written = []
    for document in documents:
        title = " ".join((document.title or "").split())
        others = {name: value for name, value in (document.metadata or {}).items() if name not in _NOT_METADATA}
        named = {"title": title} if title else {}
        if protocol == "zerosearch":
            written.append({**others, **named, "text": f"{title}\n{document.text}" if title else document.text})
            continue
        score = others.pop("score", None)
        plain = {**others, **named, "text": document.text, "contents": f'"{title}"\n{document.text}'}
        written.append({"document": plain, "score": score} if scores else plain)
    return written
