"""Text that can be normalised in time that grows with its length.

Unicode's normalisation sorts the combining marks after a letter, and Python sorts them by insertion: a document of a
million marks in turn above and below would take hours. No language puts more than a few on a letter.
"""

from __future__ import annotations

from unicodedata import combining

__all__ = ["MAX_MARKS", "stream_safe"]

MAX_MARKS = 30
"""The most combining marks in a row, as Unicode's Stream-Safe Text Format has it (UAX #15)."""

_JOINER = "\N{COMBINING GRAPHEME JOINER}"
_SHORT = 256


def stream_safe(text: str) -> str:
    """Part runs of more than `MAX_MARKS` combining marks by a character that normalisation doesn't sort across.

    Short text is left as it is: there is little to sort.

    Examples:
        >>> len(stream_safe("e" + 300 * "\u0301"))
        310
    """
    if len(text) <= _SHORT or text.isascii() or not any(map(combining, set(text[::MAX_MARKS]))):
        return text  # a run that is too long would show at every thirtieth character
    parts, run = [], 0
    for char in text:
        run = run + 1 if combining(char) else 0
        if run > MAX_MARKS:
            parts.append(_JOINER)
            run = 1
        parts.append(char)
    return "".join(parts)
