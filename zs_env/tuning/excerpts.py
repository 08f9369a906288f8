"""Short documents out of long ones: runs of whole sentences, about as long as a simulator is asked to write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zs_env.likeness import terms_of, words_of
from zs_env.tuning.sentences import evened, sentences_of
from zs_env.types import Document

__all__ = ["Excerpt", "excerpts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """A run of a document's sentences.

    Attributes:
        text: The sentences; the document's title before them, if they don't name what they are about.
        document: Which document of the search, from 0.
        first: Which sentence it begins with, from 0.
    """

    text: str
    document: int
    first: int


def excerpts(document: Document, *, number: int, num_words: int) -> Iterator[Excerpt]:
    """The runs of whole sentences that come nearest to a number of words, one that begins with each sentence.

    A sentence of more than twice as many words gives none, and nor does a run of fewer than half as many, unless it is
    the whole document.

    Args:
        document: The document.
        number: Its place in the search's documents.
        num_words: About how many words a run has.
    """
    parts = [evened(part) for part in sentences_of(document.text) if any(map(str.isalnum, part))]
    sizes = [len(words_of(part)) for part in parts]
    for first in range(len(parts)):
        end, size = first + 1, sizes[first]
        while end < len(parts) and abs(size + sizes[end] - num_words) < abs(size - num_words):
            size += sizes[end]
            end += 1
        if size > 2 * num_words or (size < num_words / 2 and end - first < len(parts)):
            continue
        run = " ".join(parts[first:end])
        yield Excerpt(text=_named(document.title, run), document=number, first=first)


def _named(title: str | None, text: str) -> str:
    """A text that names what its document is about."""
    if not title or set(terms_of(_plain(title))) <= set(terms_of(text)):
        return text
    return f"{_plain(title)}: {text}"


def _plain(title: str) -> str:
    """A title without what tells it from others of the same name, as "(film)"."""
    return re.sub(r"\s*\([^()]*\)\s*$", "", evened(title)) or title
