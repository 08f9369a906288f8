"""What a menu of actions reads out of a question and its documents: names, the relation that is asked for, statements.

These are plain rules on the shape of English text, no model: capitals make names, and what a sentence ends in, after a
word such as "is", is what it says. They read the atlas nearly without a miss, and other text as well as such rules do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from zs_env.engines.decoys import SMALL_WORDS
from zs_env.rewards import normalize_answer

__all__ = [
    "RELATIONS",
    "Statement",
    "content_words",
    "documents_in",
    "name_words",
    "names",
    "read",
    "relation_of",
    "words",
]

RELATIONS = ("capital", "currency", "continent", "language", "calling code", "internet domain", "country")
"""What the atlas asks for. Of several in one question the first here counts: "the country where …" comes last."""

_WORD = re.compile(r"[+.]?\w+(?:[-'’&.]\w+)*")
_JOINERS = frozenset("of the and de da do dos del della di la le les el al y e i van von den der du".split())  # noqa: SIM905
_NO_NAMES = SMALL_WORDS | {"doc", "also", "is", "some", "many", "most", "title"}
_SENTENCE_END = re.compile(r"(?<=\w{4}[.!?])\s+|\s+Also:\s+")
_SAYS = re.compile(r".*\b(?:is|are|was|were|called|named|of|at|in|by|code|domain)\s+(?:the\s+|an?\s+)?(\S.*)$")
_MAX_END_WORDS = 6
_DOCUMENT = re.compile(r"^Doc \d+: (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of a document.

    Attributes:
        words: Its normalised words.
        mentions: What it could answer, each with whether the sentence ends in it: that first, then its names.
    """

    words: frozenset[str]
    mentions: tuple[tuple[str, bool], ...]


def documents_in(new_text: str) -> list[str]:
    r"""The documents' lines of an `<information>` block, as the policy is shown them.

    Examples:
        >>> documents_in("\n<information>\nDoc 1: Paris is a city.\n</information>\n")
        ['Paris is a city.']
    """
    return _DOCUMENT.findall(new_text)


def names(text: str) -> list[str]:
    """Runs of words that begin with a capital, and numbers and codes; small words may stand inside a name.

    Examples:
        >>> names("Which currency is used in Bosnia and Herzegovina?"), names("It has the calling code +354.")
        (['Bosnia and Herzegovina'], ['+354'])
    """
    found: list[str] = []
    start = end = -1  # of the run so far
    last = -1  # where the word before ended, if the run may go on from there
    for match in _WORD.finditer(text):
        word = match[0]
        goes_on = start >= 0 and _is_gap(text[last : match.start()], text[last - 4 : last])
        if _is_name(word):
            if not goes_on:
                if start >= 0:
                    found.append(text[start:end])
                start = match.start()
            end = last = match.end()
        elif goes_on and word in _JOINERS:
            last = match.end()
        elif start >= 0:
            found.append(text[start:end])
            start = -1
    if start >= 0:
        found.append(text[start:end])
    return list(dict.fromkeys(found))


def _is_name(word: str) -> bool:
    return (word[0].isupper() and word.casefold() not in _NO_NAMES) or not word[0].isalpha()


def _is_gap(gap: str, before: str) -> bool:
    """Whether a name goes on over what stands between two words; "St. John" does."""
    return gap == " " or (gap == ". " and len(before.split(" ")[-1]) <= 3)


def words(text: str) -> frozenset[str]:
    """The normalised words of a text."""
    return frozenset(normalize_answer(text).split())


def name_words(text: str) -> frozenset[str]:
    """The normalised words of all names in a text."""
    return words(" ".join(names(text))) - _JOINERS


def content_words(text: str) -> frozenset[str]:
    """The normalised words of a text that are neither small nor in a name."""
    return words(text) - SMALL_WORDS - name_words(text)


def relation_of(question: str, relations: Sequence[str] = RELATIONS) -> str | None:
    """The first of `relations` that a question holds; None if it holds none.

    Examples:
        >>> relation_of("What is the capital of the country where Lyon is located?")
        'capital'
    """
    plain = f" {normalize_answer(question)} "
    return next((relation for relation in relations if f" {normalize_answer(relation)} " in plain), None)


@lru_cache(maxsize=65_536)
def read(document: str) -> tuple[Statement, ...]:
    """The statements of a document.

    Examples:
        >>> read("Iceland uses a currency called the Icelandic króna.")[0].mentions
        (('Icelandic króna', True), ('Iceland', False), ('Icelandic', False))
    """
    return tuple(_state(sentence) for sentence in _SENTENCE_END.split(document) if sentence.strip())


def _state(sentence: str) -> Statement:
    sentence = sentence.strip()
    found = names(sentence)
    mentions: dict[str, bool] = {}
    match = _SAYS.match(sentence.rstrip(".!?"))
    if match and len(match[1].split()) <= _MAX_END_WORDS:
        said = match[1].strip()
        # "the Isle of Man" ends in "of Man": the name is what is meant.
        mentions[next((name for name in found if name.endswith(f" {said}")), said)] = True
    for name in found:
        mentions.setdefault(name, False)
    return Statement(words(sentence), tuple(mentions.items()))
