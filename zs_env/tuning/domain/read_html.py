"""Web pages into sections, by Beautiful Soup: the main part of a page, without what stands around it on every page."""

from __future__ import annotations

import re
from typing import Any

from zs_env.errors import require
from zs_env.tuning.domain.sections import Section, Text, UnreadableError

__all__ = ["read_html"]

_OUTSIDE = (
    "script",
    "style",
    "noscript",
    "template",
    "nav",
    "header",
    "footer",
    "aside",
    "form",
    "button",
    "svg",
    "iframe",
)
_AROUND = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|menu|sidebar|toc|breadcrumbs?|cookies?|banner|footer|skip|share|social|"
    r"headerlink|pagination|related|advert|ads|comments?|newsletter|edit-page)(?:$|[\s_-])",
    re.IGNORECASE,
)
_BLOCKS = ("p", "li", "dt", "dd", "blockquote", "figcaption", "caption", "summary")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_NEVER_AROUND = ("html", "body", "main", "article")
_MIN_MAIN_CHARS = 40


def read_html(data: bytes, *, with_code: bool = False) -> Text:
    """Read a web page. Its encoding is what it says, else what its bytes look like.

    Headings make sections; list items and table rows are lines; rows name their columns.

    Args:
        data: The file's bytes.
        with_code: Whether code blocks are kept.

    Raises:
        UnreadableError: It holds no text.
    """
    library = require("bs4", needed_for="reading HTML files", install="pip install 'zerosearch-env[domain]'")
    require("lxml", needed_for="reading HTML files", install="pip install 'zerosearch-env[domain]'")
    page = library.BeautifulSoup(data, "lxml")
    title = _said(page.title) if page.title is not None else ""
    for tag in page.find_all(_OUTSIDE):
        if tag.name != "header" or tag.find_parent(("article", "main")) is None:
            tag.extract()
    max_chars = None if _main_of(page) is not None else len(_said(page)) / 2
    for tag in page.find_all(True):
        if tag.parent is not None and tag.name not in _NEVER_AROUND and _is_around(tag) and not _holds(tag, max_chars):
            tag.extract()
    mains = [page.find("article"), page.find("main"), page.find(attrs={"role": "main"}), page.body]
    for tag in page.find_all(("br", *_BLOCKS, *_HEADINGS)):
        tag.insert_before(" ")
    main = next((tag for tag in mains if tag is not None and len(_said(tag)) >= _MIN_MAIN_CHARS), None)
    if main is None:
        raise UnreadableError("it holds no text")
    reader = _Reader(with_code)
    reader.read(main)
    return reader.text(title)


def _main_of(tag: Any) -> Any:
    return tag.find(["main", "article"]) or tag.find(attrs={"role": "main"})


def _holds(tag: Any, max_chars: float | None) -> bool:
    """Whether the main part is in a tag, whatever its name says, as in `<div class="wy-nav-content">`.

    On a page that doesn't tell its main part, that is a tag with most of the text.
    """
    return _main_of(tag) is not None if max_chars is None else len(_said(tag)) > max_chars


def _is_around(tag: Any) -> bool:
    named = [*(tag.get("class") or ()), tag.get("id") or ""]
    return (
        tag.get("role") in ("navigation", "banner", "contentinfo", "search", "complementary")
        or tag.get("aria-hidden") == "true"
        or tag.has_attr("hidden")
        or any(_AROUND.search(str(name)) for name in named)
    )


class _Reader:
    """Goes through the main part in order."""

    def __init__(self, with_code: bool) -> None:
        self._with_code = with_code
        self._title = ""
        self._headings: list[tuple[int, str]] = []
        self._sections: list[Section] = []
        self._blocks: list[str] = []
        self._num_code_blocks = 0

    def text(self, title: str) -> Text:
        self._close()
        return Text(self._title or title, tuple(self._sections), self._num_code_blocks)

    def read(self, main: Any) -> None:
        for code in main.find_all("pre"):
            self._num_code_blocks += 1
            if not self._with_code:
                code.extract()
        for inline in main.find_all("code"):
            if inline.find_parent("pre") is None:
                inline.replace_with(f"`{_said(inline)}`")
        for table in main.find_all("table"):
            if table.find("table") is None and table.find("pre") is None:
                self._lay_out(table)
        loose: list[str] = []
        for node in main.descendants:
            name = getattr(node, "name", None)
            if name is None:
                if str(node).strip() and node.find_parent((*_BLOCKS, *_HEADINGS, "pre")) is None:
                    loose.append(str(node))
                continue
            if name in (*_BLOCKS, *_HEADINGS, "pre", "div", "section", "article", "br", "tr") and loose:
                self._add(" ".join(loose))
                loose = []
            if name in _HEADINGS:
                self._heading(int(name[1]), _said(node))
            elif name == "pre":
                self._add(_said(node))
            elif name in _BLOCKS and node.find_parent("pre") is None:
                self._add(_own(node))
        self._add(" ".join(loose))

    def _lay_out(self, table: Any) -> None:
        """Make a table's rows paragraphs that name their columns."""
        rows = [[_said(cell) for cell in row.find_all(("th", "td"))] for row in table.find_all("tr")]
        first = table.find("tr")
        has_header = first is not None and (first.find("td") is None or first.find_parent("thead") is not None)
        header = rows[0] if rows and has_header else []
        lines = [
            "; ".join(
                f"{name}: {cell}" if name else cell
                for name, cell in zip([*header, *[""] * len(row)], row, strict=False)
                if cell
            )
            for row in rows[has_header:]
        ]
        builder = type(table)
        new = [builder(name="p") for line in lines if line]
        for tag, line in zip(new, filter(None, lines), strict=True):
            tag.string = line
            table.insert_before(tag)
        table.extract()

    def _heading(self, level: int, text: str) -> None:
        text = text.strip("¶# ")
        self._close()
        if level == 1 and not self._title and not self._sections:
            self._title, self._headings = text, []
            return
        self._headings = [(deep, said) for deep, said in self._headings if deep < level] + [(level, text)]

    def _add(self, text: str) -> None:
        text = " ".join(text.split())
        if text:
            self._blocks.append(text)

    def _close(self) -> None:
        if self._blocks:
            heading = " – ".join(said for _, said in self._headings if said)
            self._sections.append(Section(heading, tuple(self._blocks)))
        self._blocks = []


def _own(node: Any) -> str:
    """A block's text without that of blocks in it, which come by themselves."""
    inner = (*_BLOCKS, *_HEADINGS, "pre")
    parts: list[str] = []
    for child in node.descendants:
        if getattr(child, "name", None) is None and child.find_parent(inner) is node:
            parts.append(str(child))
    return "".join(parts)


def _said(tag: Any) -> str:
    return " ".join(tag.get_text().split())
