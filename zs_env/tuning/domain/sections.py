"""What every reader makes of a file: its title and its sections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Section", "Text", "UnreadableError", "title_of_name"]


class UnreadableError(Exception):
    """A file gives no text; the message says why. It is counted and named, and never ends a run."""


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading.

    Attributes:
        heading: The heading with those above it, as "Training – Options"; "" above the first one.
        blocks: Its paragraphs, list items and table rows, in order, each on one line.
    """

    heading: str
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A file, read.

    Attributes:
        title: What the file calls itself; "" if it doesn't.
        sections: Its sections, in order.
        num_code_blocks: How many blocks of code were left out.
    """

    title: str
    sections: tuple[Section, ...] = field(default_factory=tuple)
    num_code_blocks: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Text:
        """The reverse of `to_json`."""
        sections = (Section(section["heading"], tuple(section["blocks"])) for section in row["sections"])
        return cls(row["title"], tuple(sections), row["num_code_blocks"])


def title_of_name(name: str) -> str:
    """A title for a file that has none.

    Examples:
        >>> title_of_name("guides/getting_started.v2.txt"), title_of_name("README")
        ('Getting started.v2', 'README')
    """
    stem = re.sub(r"\.\w+$", "", name.rpartition("/")[2])
    words = re.sub(r"[_\s-]+", " ", stem).strip() or stem
    return words[:1].upper() + words[1:]
