"""Sections into passages: bounded in words, of whole sentences, none of them noise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zs_env.errors import ConfigError
from zs_env.tuning.domain.sections import Section
from zs_env.tuning.sentences import sentences_of, words_set

__all__ = ["ChunkSettings", "chunks_of", "looks_english", "noise_of"]

MIN_LETTERS = 0.5
"""A passage with a smaller share of letters among its signs is numbers or markup."""

_WORD = re.compile(r"[^\W\d_]+")
_FUNCTION_WORDS = words_set(
    "the of and to in a is that it for as was with on by at from are be this an or which not have has its he she they "
    "but were one all can will if when what who you your no more than so do does how there we our"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSettings:
    """How long passages are.

    Attributes:
        max_words: A passage has at most so many words; a sentence that has more is cut.
        min_words: A shorter section joins the passage before it, if that has room; alone it is dropped.

    Raises:
        ConfigError: They aren't 1 <= min_words < max_words.
    """

    max_words: int = 120
    min_words: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.min_words < self.max_words:
            raise ConfigError(
                f"Passages need 1 <= min_words < max_words; got min_words={self.min_words} and "
                f"max_words={self.max_words}."
            )


def chunks_of(sections: Sequence[Section], settings: ChunkSettings) -> Iterator[tuple[str, str]]:
    """The passages of a file, in order: heading and text.

    Paragraphs stay whole where they fit, else sentences do. A section that is too short joins the one before it,
    behind its heading.
    """
    waiting: tuple[str, str] | None = None
    for section in sections:
        for heading, text in _pieces(section, settings):
            if waiting is None:
                waiting = (heading, text)
                continue
            is_short = min(_count(waiting[1]), _count(text)) < settings.min_words
            joined = _joined(waiting, heading, text)
            if is_short and _count(joined) <= settings.max_words:
                waiting = (waiting[0], joined)
            else:
                yield waiting
                waiting = (heading, text)
    if waiting is not None:
        yield waiting


def _joined(waiting: tuple[str, str], heading: str, text: str) -> str:
    last = heading.rpartition(" – ")[2]
    return f"{waiting[1]}\n{last}: {text}" if last and heading != waiting[0] else f"{waiting[1]}\n{text}"


def _pieces(section: Section, settings: ChunkSettings) -> Iterator[tuple[str, str]]:
    parts: list[str] = []
    num_words = 0
    for block in section.blocks:
        for part in _fitting(block, settings.max_words):
            size = _count(part)
            if parts and num_words + size > settings.max_words:
                yield section.heading, "\n".join(parts)
                parts, num_words = [], 0
            parts.append(part)
            num_words += size
    if parts:
        yield section.heading, "\n".join(parts)


def _fitting(block: str, max_words: int) -> Iterator[str]:
    """A block in pieces of at most so many words: whole sentences, and of one that is longer, runs of words."""
    if _count(block) <= max_words:
        yield block
        return
    current: list[str] = []
    for sentence in sentences_of(block):
        words = sentence.split()
        if current and len(current) + len(words) > max_words:
            yield " ".join(current)
            current = []
        whole = (len(words) - 1) // max_words * max_words
        for start in range(0, whole, max_words):
            yield " ".join(words[start : start + max_words])
        current += words[whole:]
    if current:
        yield " ".join(current)


def _count(text: str) -> int:
    return len(text.split())


def noise_of(text: str, min_words: int) -> str | None:
    """Why a passage is no text that anybody would search for; None if it is.

    Examples:
        >>> noise_of("0.1 0.2 0.3 0.4 | 17 18 | 9 10 11 12", 4), noise_of("Lima is the capital of Peru.", 4)
        ('mostly numbers or signs', None)
    """
    words = text.split()
    if len(words) < min_words:
        return "too short"
    signs = [sign for sign in text if not sign.isspace()]
    if sum(sign.isalpha() for sign in signs) < MIN_LETTERS * len(signs):
        return "mostly numbers or signs"
    if "\ufffd" in text and text.count("\ufffd") > 0.01 * len(text):
        return "broken letters"
    if max(map(len, words)) > 400 or sum(map(len, words)) > 25 * len(words):
        return "no words: letters without spaces" if text.isascii() else None
    if len(words) >= 20 and len({word.casefold() for word in words}) < 0.2 * len(words):
        return "the same words again and again"
    return None


def looks_english(text: str) -> bool:
    """Whether a text has the small words that English has; a short one is taken for English.

    Examples:
        >>> looks_english("Das Haus steht dort oben auf dem Berg und hat nur zwei kleine Zimmer im ersten Stock.")
        False
    """
    words = [word.casefold() for word in _WORD.findall(text)]
    return len(words) < 10 or sum(word in _FUNCTION_WORDS for word in words) >= 0.12 * len(words)
