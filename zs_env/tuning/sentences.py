"""Texts into sentences, and back into an even form."""

from __future__ import annotations

import re

__all__ = ["evened", "sentences_of", "words_set"]


def words_set(words: str) -> frozenset[str]:
    """The words of a text as a set: for lists of words."""
    return frozenset(words.split())


_ABBREVIATIONS = words_set(
    "mr mrs ms dr st mt prof rev hon jr sr gen col capt lt maj sgt gov sen rep no nos vol vols ed eds p pp vs ca c d b "
    "r fl e.g i.e cf viz al fig figs eq sec ch inc ltd co corp dept univ approx min max jan feb mar apr jun jul aug "
    "sep sept oct nov dec"
)
_END = re.compile(r"[.!?…。！？][\"'”’)\]]*(?=\s)|[。！？]")
_SPACES = re.compile(r"[ \t\r\f\v\u00a0\u2000-\u200a\u202f\u3000]+")
_SIGN = re.compile(r"\S")
_WORD_BEFORE = re.compile(r"([\w.]+)$")
_LONGEST = 100
"""An abbreviation is shorter: no more than this before a full stop is looked at."""
_OPENED = re.compile(r"(?<=\w)\( ?(?=\w)|(?<=\w) \( (?=\w)")
_HYPHEN = re.compile(r"(?<=[^\W\d_])- (?=[^\W\d_])")


def evened(text: str) -> str:
    r"""One line, single spaces, and no space where tokenisers of encyclopedias leave one.

    Examples:
        >>> evened("Hassan Al- Qeed( born 13 April 1998) is\na player .")
        'Hassan Al-Qeed (born 13 April 1998) is a player.'
    """
    text = " ".join(text.split())
    text = _HYPHEN.sub("-", _OPENED.sub(" (", text))
    return re.sub(r" +([,.;:?!)])(?= |$)", r"\1", text)


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, each with its punctuation.

    A full stop behind an initial or an abbreviation, or before a small letter, ends none.

    Examples:
        >>> sentences_of("It holds 2.5 l, e.g. of milk. See Dr. J. Om Prakash. Done? Yes!")
        ['It holds 2.5 l, e.g. of milk.', 'See Dr. J. Om Prakash.', 'Done?', 'Yes!']
    """
    found: list[str] = []
    start = 0
    for end in _END.finditer(text):
        if end[0][0] == "." and not _ends_sentence(text, max(start, end.start() - _LONGEST), end):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def _ends_sentence(text: str, start: int, end: re.Match[str]) -> bool:
    following = _SIGN.search(text, end.end())
    if following is not None and following[0].islower():
        return False
    word = _WORD_BEFORE.search(text[start : end.start()])
    if word is None:
        return True
    last = word[1]
    is_initial = len(last) == 1 and last.isalpha() and last.isupper()
    return (
        not is_initial and last.casefold() not in _ABBREVIATIONS and not re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", last)
    )
