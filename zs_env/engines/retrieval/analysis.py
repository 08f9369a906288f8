"""How texts become the terms of a BM25 index: words without case, accents and endings, and without stop words."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable

from zs_env.engines.retrieval.packages import INSTALL, require_bm25s
from zs_env.errors import ConfigError, require

__all__ = ["Analyzer"]

_MAX_REMEMBERED = 500_000
_MARKS = re.compile("[\u0300-\u036f]")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_ASCII_WORD = re.compile("[a-z0-9]+")
_POSSESSIVE = re.compile(r"['’]s\b", re.IGNORECASE)
_STOP_WORDS = {"english": "EN", "norwegian": "NORWEGIAN"}


class Analyzer:
    """Turns texts into terms.

    In scripts without spaces each character is a word. A word's ending is taken off by the Snowball stemmer of the
    language, and the language's stop words are left out where bm25s has a list of them.

    Args:
        language: A language that PyStemmer knows, such as `"english"`; `"none"` keeps all words as they are.

    Raises:
        ConfigError: The language isn't known.
        MissingPackageError: bm25s or PyStemmer isn't installed.
    """

    def __init__(self, language: str = "english") -> None:
        self._stem: Callable[[str], str] | None = None
        self._stop: frozenset[str] = frozenset()
        self._terms: dict[str, str | None] = {}
        self._lock = threading.Lock()
        if language == "none":
            return
        stemmer = require("Stemmer", needed_for="Stemming for BM25", install=INSTALL)
        languages = stemmer.algorithms()
        if language not in languages:
            raise ConfigError(
                f"language={language!r} isn't known. Known: {', '.join(languages)}; or 'none' for words as they are."
            )
        self._stem = stemmer.Stemmer(language).stemWord
        lists = require_bm25s("BM25", "bm25s.stopwords")
        words = getattr(lists, f"STOPWORDS_{_STOP_WORDS.get(language, language.upper())}", ())
        self._stop = frozenset(part for word in words for part in self.words(word))

    @staticmethod
    def words(text: str) -> list[str]:
        """The words of a text, in order.

        Examples:
            >>> Analyzer.words("São Paulo's 3 parks, 東京")
            ['sao', 'paulo', '3', 'parks', '東', '京']
        """
        text = _POSSESSIVE.sub("", text)
        if text.isascii():
            return _ASCII_WORD.findall(text.lower())
        plain = _MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold()
        return _WORD.findall(unicodedata.normalize("NFKC", plain))

    def terms(self, text: str) -> list[str]:
        """The terms of a text, in order, repeated ones too."""
        found = []
        known = self._terms
        for word in self.words(text):
            try:
                term = known[word]
            except KeyError:
                term = self._learn(word)
            if term is not None:
                found.append(term)
        return found

    def _learn(self, word: str) -> str | None:
        with self._lock:  # a stemmer may only be used by one thread at a time
            if len(self._terms) >= _MAX_REMEMBERED:
                self._terms.clear()
            term = None if word in self._stop else word if self._stem is None else self._stem(word)
            self._terms[word] = term
            return term
