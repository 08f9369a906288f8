"""How the atlas speaks: relations, phrasings of questions and documents, and the folding that names are matched by.

The entity stands before the answer in every document sentence, and every sentence of a relation holds the relation's
name, so that reading it, not its shape, tells what it says.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from types import MappingProxyType

from zs_env.rewards import normalize_answer

__all__ = [
    "DOCUMENTS",
    "JOINER",
    "PHRASES",
    "RELATIONS",
    "SINGLE_HOP",
    "TWO_HOP",
    "fold",
    "strip_accents",
    "template_words",
    "upper_first",
]

RELATIONS = ("capital", "currency", "continent", "language", "calling_code", "domain", "country")
"""Every relation; `country` belongs to cities, the others to countries."""

PHRASES = MappingProxyType(
    {
        "capital": "capital",
        "currency": "currency",
        "continent": "continent",
        "language": "main language",
        "calling_code": "calling code",
        "domain": "internet domain",
        "country": "country",
    }
)
"""What a relation is called in questions, documents and demonstrations."""

SINGLE_HOP = MappingProxyType(
    {
        "capital": (
            "What is the capital of {entity}?",
            "Which city is the capital of {entity}?",
            "What is the name of the capital of {entity}?",
        ),
        "currency": (
            "Which currency is used in {entity}?",
            "What is the currency of {entity}?",
            "In which currency do people pay in {entity}?",
        ),
        "continent": (
            "On which continent is {entity}?",
            "Which continent does {entity} belong to?",
            "What continent is {entity} part of?",
        ),
        "language": (
            "What is the main language of {entity}?",
            "Which language do most people speak in {entity}?",
            "What is the main language spoken in {entity}?",
        ),
        "calling_code": (
            "What is the calling code of {entity}?",
            "Which international calling code does {entity} have?",
            "Which calling code do you dial to reach {entity}?",
        ),
        "domain": (
            "What is the internet domain of {entity}?",
            "Which internet domain does {entity} have?",
            "What is the top-level internet domain of {entity}?",
        ),
        "country": (
            "In which country is {entity}?",
            "Which country does the city of {entity} belong to?",
            "In what country is the city of {entity} located?",
        ),
    }
)
"""Phrasings of a question about an entity itself."""

TWO_HOP = MappingProxyType(
    {
        "capital": (
            "What is the capital of the country where {entity} is located?",
            "Which city is the capital of the country that {entity} belongs to?",
            "What is the capital of the country that {entity} is a city in?",
        ),
        "currency": (
            "Which currency is used in the country that {entity} belongs to?",
            "What is the currency of the country where {entity} is located?",
            "In which currency do people pay in the country where {entity} is?",
        ),
        "continent": (
            "On which continent is the country that {entity} belongs to?",
            "Which continent does the country where {entity} is located belong to?",
            "What continent is the country of {entity} part of?",
        ),
        "language": (
            "What is the main language of the country where {entity} is located?",
            "Which language do most people speak in the country that {entity} belongs to?",
            "What is the main language spoken in the country where {entity} is?",
        ),
        "calling_code": (
            "What is the calling code of the country where {entity} is located?",
            "Which international calling code does the country that {entity} belongs to have?",
            "Which calling code do you dial to reach the country where {entity} is?",
        ),
        "domain": (
            "What is the internet domain of the country where {entity} is located?",
            "Which internet domain does the country that {entity} belongs to have?",
            "What is the top-level internet domain of the country where {entity} is?",
        ),
    }
)
"""Phrasings of a question about the country of a city."""

DOCUMENTS = MappingProxyType(
    {
        "capital": (
            "The capital of {entity} is {answer}.",
            "In {entity}, the capital is {answer}.",
            "{entity} has its capital at {answer}.",
        ),
        "currency": (
            "The currency of {entity} is the {answer}.",
            "In {entity}, the currency is the {answer}.",
            "{entity} uses a currency called the {answer}.",
        ),
        "continent": (
            "The continent of {entity} is {answer}.",
            "As for its continent, {entity} is part of {answer}.",
            "{entity} lies on the continent of {answer}.",
        ),
        "language": (
            "The main language of {entity} is {answer}.",
            "In {entity}, the main language is {answer}.",
            "{entity} has a main language called {answer}.",
        ),
        "calling_code": (
            "The calling code of {entity} is {answer}.",
            "In {entity}, the calling code is {answer}.",
            "{entity} has the calling code {answer}.",
        ),
        "domain": (
            "The internet domain of {entity} is {answer}.",
            "In {entity}, the internet domain is {answer}.",
            "{entity} has the internet domain {answer}.",
        ),
        "country": (
            "The country of {entity} is {answer}.",
            "The city of {entity} lies in the country of {answer}.",
            "{entity} is a city, and its country is {answer}.",
        ),
    }
)
"""Phrasings of a fact in a document."""

JOINER = " Also: "
"""What stands between two sentences of one document: with a word in it, no answer can span both."""

_PLAIN_LETTERS = str.maketrans(
    {"ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ł": "l", "Ł": "L", "ı": "i", "ə": "a", "Ə": "A", "ß": "ss", "æ": "ae"}
)
_NOT_WORD = re.compile(r"[^\w]+|_+")


def fold(text: str) -> str:
    """Reduce text to the form that names are matched by: no accents, case, punctuation or "the".

    This is coarser than the normalisation of answers, because a searcher types "sao tome" and "guinea bissau".

    Examples:
        >>> fold("The Côte-d'Ivoire")
        'cote d ivoire'
    """
    plain = strip_accents(text.casefold())
    return " ".join(word for word in _NOT_WORD.sub(" ", plain).split() if word != "the")


def strip_accents(text: str) -> str:
    """Write letters without their marks: "São Tomé" is "Sao Tome"."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text.translate(_PLAIN_LETTERS))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def upper_first(text: str) -> str:
    """Start a sentence with a capital letter, leaving the rest as it is."""
    return text[:1].upper() + text[1:]


@cache
def template_words() -> frozenset[str]:
    """The normalised words that a question or document may hold whatever it is about."""
    groups = (SINGLE_HOP, TWO_HOP, DOCUMENTS)
    texts = [text for group in groups for phrasings in group.values() for text in phrasings] + [JOINER]
    return frozenset(w for text in texts for w in normalize_answer(re.sub(r"{\w+}", " ", text)).split())
