"""Markdown into sections, by markdown-it-py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from zs_env.errors import require
from zs_env.tuning.domain.sections import Section, Text

__all__ = ["read_markdown"]

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"""^title:[ \t]*["']?(.+?)["']?[ \t]*$""", re.MULTILINE)
_DIRECTIVE = re.compile(r"^\s*(?::::?\s*\S|!!!|\?\?\?|===|\{[%:#]|\[TOC\])", re.IGNORECASE)
_ATTRIBUTES = re.compile(r"\s*\{[:#.][^{}]*\}\s*$")


def read_markdown(text: str, *, with_code: bool = False) -> Text:
    r"""Read markdown with tables.

    Headings make sections, the first of level one the title. A table's row becomes a line that names its columns, so
    that it can stand by itself. Code blocks, comments, pictures and directives of site builders are left out.

    Args:
        text: The file's text.
        with_code: Whether code blocks are kept, as blocks of their own.

    Examples:
        >>> found = read_markdown("# Guide\n\n## Flags\n\n| Flag | Does |\n|---|---|\n| `-v` | says more |\n")
        >>> found.title, found.sections
        ('Guide', (Section(heading='Flags', blocks=('Flag: `-v`; Does: says more',)),))
    """
    library = require(
        "markdown_it", needed_for="reading markdown files", install="pip install 'zerosearch-env[domain]'"
    )
    title = ""
    front = _FRONT_MATTER.match(text)
    if front is not None:
        named = _FRONT_TITLE.search(front[1])
        title = named[1].strip() if named else ""
        text = text[front.end() :]
    tokens = library.MarkdownIt("commonmark").enable("table").parse(text)
    reader = _Reader(title, with_code)
    reader.read(tokens)
    return reader.text()


class _Reader:
    """Goes through the tokens once."""

    def __init__(self, title: str, with_code: bool) -> None:
        self._title = title
        self._with_code = with_code
        self._headings: list[tuple[int, str]] = []
        self._sections: list[Section] = []
        self._blocks: list[str] = []
        self._header: list[str] = []
        self._cells: list[str] = []
        self._num_code_blocks = 0

    def text(self) -> Text:
        self._close()
        return Text(self._title, tuple(self._sections), self._num_code_blocks)

    def read(self, tokens: Sequence[Any]) -> None:
        in_table = False
        for place, token in enumerate(tokens):
            if token.type in ("table_open", "table_close"):
                in_table = token.type == "table_open"
                self._header = []
            elif token.type == "tr_open":
                self._cells = []
            elif token.type == "tr_close":
                self._row()
            elif token.type == "inline" and in_table:
                self._cells.append(_plain(token))
                if tokens[place - 1].type == "th_open":
                    self._header = list(self._cells)
            elif token.type == "inline" and tokens[place - 1].type == "heading_open":
                self._heading(int(tokens[place - 1].tag[1]), _plain(token))
            elif token.type == "inline":
                self._paragraph(_plain(token))
            elif token.type in ("fence", "code_block"):
                self._num_code_blocks += 1
                if self._with_code and token.content.strip():
                    self._blocks.append(" ".join(token.content.split()))

    def _heading(self, level: int, text: str) -> None:
        self._close()
        text = _ATTRIBUTES.sub("", text).strip("¶# ")
        if level == 1 and (not self._title or self._title == text) and not self._sections:
            self._title, self._headings = text, []
            return
        self._headings = [(deep, said) for deep, said in self._headings if deep < level] + [(level, text)]

    def _paragraph(self, text: str) -> None:
        if text and not _DIRECTIVE.match(text):
            self._blocks.append(text)

    def _row(self) -> None:
        if self._cells != self._header:
            named = [
                f"{name}: {cell}" if name else cell
                for name, cell in zip([*self._header, *[""] * len(self._cells)], self._cells, strict=False)
                if cell
            ]
            if named:
                self._blocks.append("; ".join(named))

    def _close(self) -> None:
        if self._blocks:
            heading = " – ".join(said for _, said in self._headings if said)
            self._sections.append(Section(heading, tuple(self._blocks)))
        self._blocks = []


def _plain(token: Any) -> str:
    """The text of an inline token; code keeps its backticks, links keep what they show."""
    parts: list[str] = []
    for child in token.children or ():
        if child.type == "text":
            parts.append(child.content)
        elif child.type == "code_inline":
            parts.append(f"`{child.content.strip()}`")
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return " ".join("".join(parts).split())
