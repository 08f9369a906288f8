"""Whether a document asserts a wrong answer, where that can be checked: on the atlas, whose facts are known.

A sentence is *about the fact* if it names the asked entity and the asked relation. It is *right* if it holds an
accepted answer, and *wrong* if it holds none and another value of the relation: another city for a capital, another
currency, …

It is a rule, not a reader. It misses wrong answers that the atlas doesn't know ("The capital of Kenya is Wakanda"),
those that a sentence tells of "it", and those beside the right one. It takes a denial for an assertion ("The capital of
Kenya isn't Lagos"), and so a sentence that names another value for another reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from zs_env.errors import ConfigError
from zs_env.questions.atlas import SPLITS, Fact, load_atlas
from zs_env.questions.atlas_text import JOINER, fold
from zs_env.types import Question, SearchResult

__all__ = ["Verdict", "asked_fact", "check_document", "check_result"]

_SENTENCE = re.compile(rf"(?<=[.!?])(?<!\bSt\.)(?<!\bMt\.)(?<!\W[A-Z]\.)\s+|\n+|{re.escape(JOINER.strip())}")
_KEYWORDS = {
    "capital": r"capital",
    "currency": r"currenc(?:y|ies)|money|legal tender|pay|paid",
    "continent": r"continent",
    "language": r"languages?|speaks?|spoken",
    "calling_code": r"calling|dial\w*|phone|telephone|country code|prefix",
    "domain": r"domain|tld|cctld|internet",
    "country": r"country|nation|located|lies|belongs?|situated|city (?:in|of)|in",
}
_WRITTEN = {"calling_code": re.compile(r"\+\d[\d -]*\d|\+\d"), "domain": re.compile(r"(?<![\w.])\.[a-z]{2}(?![\w])")}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a document says of a fact.

    Attributes:
        right: Whether a sentence states it rightly.
        wrong: Whether a sentence states it wrongly.
    """

    right: bool
    wrong: bool


def asked_fact(question: Question) -> Fact:
    """The fact that an atlas question of one hop asks for.

    Raises:
        ConfigError: It isn't such a question.
    """
    metadata = question.metadata
    if metadata.get("data_source") != "atlas" or metadata.get("hops") != 1:
        raise ConfigError(f"{question.question!r} isn't a question of the atlas of one hop: its facts aren't known.")
    [fact] = load_atlas().world(metadata["split"]).facts_of(question)
    return fact


def check_result(question: Question, result: SearchResult) -> list[Verdict]:
    """What each document of a result says of the fact that a question asks for."""
    fact = asked_fact(question)
    return [check_document(fact, document.text) for document in result.documents]


def check_document(fact: Fact, text: str) -> Verdict:
    """What a document says of a fact.

    Examples:
        >>> fact = load_atlas().world("test").facts["Belgium", "capital"]
        >>> check_document(fact, "Belgium is small. The capital of Belgium is Antwerp.")
        Verdict(right=False, wrong=True)
        >>> check_document(fact, "Antwerp is a port. Brussels is the capital of Belgium.")
        Verdict(right=True, wrong=False)
    """
    said = [_check_sentence(fact, sentence) for sentence in _SENTENCE.split(text) if sentence]
    return Verdict(any(verdict is True for verdict in said), any(verdict is False for verdict in said))


def _check_sentence(fact: Fact, sentence: str) -> bool | None:
    plain = fold(sentence)
    if not re.search(rf"\b(?:{_KEYWORDS[fact.relation]})\b", plain):
        return None
    named = set(_names_in(plain, fact.relation))
    if not named & _folded(fact.entity.name, *fact.entity.aliases):
        return None
    accepted, others = _folded(*fact.answers), _values(fact.relation)
    if fact.relation in _WRITTEN:
        found = {fold(match[0]) for match in _WRITTEN[fact.relation].finditer(sentence.casefold())}
        return True if found & accepted else False if found else None
    if named & accepted:
        return True
    return False if (named & others) - _folded(fact.entity.name, *fact.entity.aliases) else None


def _folded(*names: str) -> set[str]:
    return {fold(name) for name in names} - {""}


def _names_in(plain: str, relation: str) -> Iterator[str]:
    """Every name and value in a folded sentence; the longest wins."""
    lengths, known = _lexicon(relation)
    words = plain.split()
    at = 0
    while at < len(words):
        for length in range(min(lengths.get(words[at], 0), len(words) - at), 0, -1):
            run = " ".join(words[at : at + length])
            if run in known:
                yield run
                at += length - 1
                break
        at += 1


@lru_cache(maxsize=16)
def _values(relation: str) -> frozenset[str]:
    """What answers a relation can have, of all splits; for a capital, any city."""
    found: set[str] = set()
    for split in SPLITS:
        world = load_atlas().world(split)
        for fact in world.facts.values():
            if fact.relation == relation:
                found |= _folded(*fact.answers)
        if relation == "capital":
            found |= {fold(entity.name) for entity in world.entities.values() if entity.kind == "city"}
    return frozenset(found)


@lru_cache(maxsize=16)
def _lexicon(relation: str) -> tuple[dict[str, int], frozenset[str]]:
    """The names of all places and the values of a relation, with the most words that begin with a word."""
    names = set(_values(relation)) if relation not in _WRITTEN else set()
    for split in SPLITS:
        for entity in load_atlas().world(split).entities.values():
            names |= _folded(entity.name, *entity.aliases)
    lengths: dict[str, int] = {}
    for name in names:
        first, *rest = name.split()
        lengths[first] = max(lengths.get(first, 0), 1 + len(rest))
    return lengths, frozenset(names)
