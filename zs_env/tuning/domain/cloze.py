"""Sentences with a gap: for text in which no other rule finds much. They are the least like what people ask."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zs_env.tuning.domain.candidates import Candidate
from zs_env.tuning.domain.corpus import Passage
from zs_env.tuning.domain.names import NAME, UPPER
from zs_env.tuning.domain.prose import self_contained
from zs_env.tuning.sentences import sentences_of

__all__ = ["GAP", "cloze_candidates"]

GAP = "____"
_CODE = re.compile(r"`([^`]*)`")
_NUMBER = re.compile(
    r"(?<![\w.,\[(`/×-])(\d+(?:,\d{3})*(?:\.\d+)?(?: ?%| (?:seconds|minutes|hours|days|years|GB|MB|MiB|GiB|ms|km|"
    r"metres|meters|kg))?)(?![\w\]`/×]|[.,]\d|-\d| ×)"
)
_NAME = re.compile(rf"(?<=[a-z,] )({NAME})(?=[ .,;:)])")
_TITLE = re.compile(r"\s+–\s+.*$")
_WHOLE = re.compile(rf"^[“\"(]?[{UPPER}`\d][^;×→±=\[\]…]*[.!?]$")
"""A sentence that begins and ends as one, without formulas and lists."""


def cloze_candidates(passage: Passage) -> Iterator[Candidate]:
    """One gap a sentence: a piece of code, a number or a name that stands in it once."""
    about = _TITLE.sub("", passage.title)
    for line in passage.text.split("\n"):
        for sentence in sentences_of(line):
            if not self_contained(sentence) or not 9 <= len(sentence.split()) <= 28 or not _WHOLE.match(sentence):
                continue
            found = _gap(sentence)
            if found is None:
                continue
            pattern, answer, start, end = found
            yield Candidate(
                question=f"Which word or words are missing ({about}): “{sentence[:start]}{GAP}{sentence[end:]}”",
                answers=(answer,),
                pattern=f"cloze/{pattern}",
                passage=passage.id,
                sentence=sentence,
            )


def _gap(sentence: str) -> tuple[str, str, int, int] | None:
    """What is left out of a sentence, and where; None if nothing in it is worth it."""
    for pattern, expression in (("code", _CODE), ("name", _NAME), ("number", _NUMBER)):
        if pattern != "code" and ":" in sentence:
            continue
        found = [match for match in expression.finditer(sentence) if _is_worth(pattern, match[1])]
        if 1 <= len(found) <= 2:
            match = found[-1]
            if sentence.casefold().count(match[1].casefold()) == 1 and len(match[1].split()) <= 5:
                return pattern, match[1], match.start(), match.end()
    return None


def _is_worth(pattern: str, answer: str) -> bool:
    """Whether a gap can be filled from knowledge of the text, and not by any guess."""
    if pattern == "code":
        return 2 <= len(answer) <= 40
    if pattern == "name":
        return (" " in answer or (len(answer) > 4 and not answer.isupper())) and not answer.endswith(("'s", "’s"))
    return not answer[-1].isdigit() or sum(sign.isdigit() for sign in answer) >= 3
