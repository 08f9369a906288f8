"""PDF files into sections, a page each, by pypdf."""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest

from zs_env.errors import require
from zs_env.tuning.domain.sections import Section, Text, UnreadableError

__all__ = ["paragraphs_of_lines", "read_pdf"]

MIN_CHARS_A_PAGE = 20
"""Pages with less text, on average, are pictures of pages."""

_SENTENCE_END = re.compile(r"[.!?:…][\"'”’)\]]*$")
_NUMBER = re.compile(r"\d+")


def read_pdf(data: bytes, *, max_pages: int = 2_000) -> Text:
    """Read a PDF. Lines that stand at the edge of most pages, as page numbers, are left out.

    Args:
        data: The file's bytes.
        max_pages: Longer files aren't read.

    Raises:
        UnreadableError: It is encrypted, broken, too long, or has no text, as a scan.
    """
    library = require("pypdf", needed_for="reading PDF files", install="pip install 'zerosearch-env[domain]'")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = library.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("it is encrypted, and needs a password")
        if len(reader.pages) > max_pages:
            raise UnreadableError(f"it has {len(reader.pages):,} pages, more than {max_pages:,}")
        pages = [(page.extract_text() or "").splitlines() for page in reader.pages]
        title = reader.metadata.title if reader.metadata is not None else None
    except UnreadableError:
        raise
    except library.errors.DependencyError as error:
        raise UnreadableError(f"it is encrypted in a way that needs another package: {error}") from error
    if sum(len(line.strip()) for page in pages for line in page) < MIN_CHARS_A_PAGE * max(len(pages), 1):
        raise UnreadableError("its pages hold no text: they may be scans, which need character recognition first")
    return Text(title.strip() if isinstance(title, str) else "", tuple(_sections(_without_edges(pages))))


def _without_edges(pages: Sequence[Sequence[str]]) -> list[list[str]]:
    """The pages without the first and last lines that most of them share, but for numbers."""
    filled = [[line.strip() for line in page if line.strip()] for page in pages]
    edges = Counter(_NUMBER.sub("#", line) for page in filled for line in {*page[:1], *page[-1:]} if len(line) <= 120)
    common = {line for line, count in edges.items() if count >= max(3, len(filled) / 2)}
    return [
        [
            line
            for place, line in enumerate(page)
            if not (place in (0, len(page) - 1) and _NUMBER.sub("#", line) in common)
        ]
        for page in filled
    ]


def _sections(pages: Sequence[Sequence[str]]) -> list[Section]:
    """A section a page; a sentence that goes on belongs to the page where it ends."""
    found: list[Section] = []
    carried = ""
    for number, lines in enumerate(pages, start=1):
        paragraphs = paragraphs_of_lines([carried, *lines] if carried else lines)
        carried = ""
        if paragraphs and number < len(pages) and not _SENTENCE_END.search(paragraphs[-1]):
            whole, dot, rest = paragraphs[-1].rpartition(". ")
            carried = rest
            paragraphs = paragraphs[:-1] + ([whole + "."] if dot else [])
        if paragraphs:
            found.append(Section(f"page {number}", tuple(paragraphs)))
    return found


def paragraphs_of_lines(lines: Sequence[str]) -> list[str]:
    """Join lines that were broken to fit: a short line ends a paragraph, unless a small letter follows.

    Examples:
        >>> paragraphs_of_lines(["Turns", "The policy searches and it an-", "swers.", "Then it is over, after all."])
        ['Turns', 'The policy searches and it answers.', 'Then it is over, after all.']
    """
    lines = [" ".join(line.split()) for line in lines]
    width = max((len(line) for line in lines), default=0)
    found: list[str] = []
    current = ""
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        if not line:
            found.append(current)
            current = ""
        elif re.search(r"[^\W\d_]-$", current) and line[:1].islower():
            current = current[:-1] + line
        else:
            current = f"{current} {line}".strip()
        if len(line) < 0.7 * width and not following[:1].islower() and not line.endswith("-"):
            found.append(current)
            current = ""
    found.append(current)
    return [paragraph for paragraph in found if paragraph]
