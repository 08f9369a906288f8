"""Plain text and reStructuredText into sections."""

from __future__ import annotations

import re

from zs_env.tuning.domain.sections import Section, Text

__all__ = ["read_text"]

_RULE = re.compile(r"^([=\-~^\"'`#*+:.])\1{2,}\s*$")
_ROLE = re.compile(r":[\w:-]+:`([^`]*)`|``([^`]*)``")
_LINK = re.compile(r"`([^`<]+?)\s*<[^>]*>`__?|\b`([^`]+)`_")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+")


def read_text(text: str, *, with_code: bool = False, is_rst: bool = False) -> Text:
    r"""Read text whose paragraphs have empty lines between them.

    A line with a rule of signs below it is a heading. In reStructuredText, directives and indented blocks behind "::"
    are left out.

    Examples:
        >>> read_text("Guide\n=====\n\nIt runs\nhere.\n\nMore\n----\n\n- one\n- two\n").sections
        (Section(heading='', blocks=('It runs here.',)), Section(heading='More', blocks=('one', 'two')))
    """
    title = heading = ""
    sections: list[Section] = []
    blocks: list[str] = []
    num_code_blocks = 0
    is_code = False
    for paragraph in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")):
        lines = [line for line in paragraph.split("\n") if line.strip()]
        if not lines:
            continue
        if is_rst and lines[0].lstrip().startswith(".. "):
            is_code = True
            continue
        if is_code and all(line[:1].isspace() for line in lines):
            num_code_blocks += 1
            if with_code:
                blocks.append(" ".join(" ".join(lines).split()))
            continue
        is_code = False
        if _RULE.match(lines[0]) and len(lines) > 2 and _RULE.match(lines[2]):
            lines = lines[1:]
        if len(lines) > 1 and _RULE.match(lines[1]) and not _RULE.match(lines[0]):
            if blocks:
                sections.append(Section(heading, tuple(blocks)))
                blocks = []
            said = lines[0].strip()
            if not title and not sections:
                title = said
            else:
                heading = said
            lines = lines[2:]
        if is_rst and lines and lines[-1].rstrip().endswith("::"):
            is_code = True
        blocks += _joined(lines, is_rst)
    if blocks:
        sections.append(Section(heading, tuple(blocks)))
    return Text(title, tuple(sections), num_code_blocks)


def _joined(lines: list[str], is_rst: bool) -> list[str]:
    """A paragraph on one line; list items on lines of their own."""
    found: list[list[str]] = []
    for line in lines:
        if _RULE.match(line):
            continue
        item = _ITEM.match(line)
        said = line[item.end() :] if item else line
        if is_rst:
            said = _LINK.sub(lambda match: match[1] or match[2], _ROLE.sub(lambda m: f"`{m[1] or m[2] or ''}`", said))
            said = re.sub(r"::\s*$", ":", said)
        if item or not found:
            found.append([])
        found[-1] += said.split()
    return [" ".join(words) for words in found if words]
