"""How alike texts are: pure functions of texts, without a model.

*Words* are runs of letters and digits without case and accents; in scripts without spaces, each character is one.
*Terms* are words that say something, with English endings taken off. *Shingles* are three words in a row.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from zs_env.combining import stream_safe
from zs_env.engines.decoys import SMALL_WORDS

__all__ = [
    "TermWeights",
    "copied_run",
    "copies_of",
    "distinct_share",
    "near_repeats",
    "says_back",
    "stem_of",
    "terms_of",
    "words_of",
]

SHINGLE = 3
NEAR = 0.8
"""Texts whose shingles overlap by this share (Jaccard) are near-duplicates."""
COPIED_RUN = 8
"""So many words in a row from the prompt are copied, not met by chance."""

_MARKS = re.compile("[\u0300-\u036f]")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_APOSTROPHE_S = re.compile(r"['’]s\b")


@lru_cache(maxsize=65_536)
def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, in order.

    Examples:
        >>> words_of("São Paulo's 3 parks")
        ('sao', 'paulo', '3', 'parks')
    """
    text = stream_safe(_APOSTROPHE_S.sub("", text))
    plain = _MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", stream_safe(plain))))


def stem_of(word: str) -> str:
    """A word without an English ending, if enough of it stays.

    Examples:
        >>> stem_of("directed"), stem_of("used")
        ('direct', 'used')
    """
    for ending in ("ings", "ing", "ies", "ed", "es", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 4 and word.isascii():
            return word[: -len(ending)]
    return word


@lru_cache(maxsize=65_536)
def terms_of(text: str) -> tuple[str, ...]:
    """The words that say something, without endings; all words if none does.

    Examples:
        >>> terms_of("Who directed the films?")
        ('direct', 'film')
    """
    words = words_of(text)
    said = [word for word in words if word not in SMALL_WORDS]
    return tuple(stem_of(word) for word in said or words)


class TermWeights:
    """How much each term tells: inverse document frequencies over some texts, smoothed as ln((1 + N) / (1 + n)) + 1.

    Args:
        texts: The texts that are counted.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._counts: Counter[str] = Counter()
        self._num_texts = 0
        for text in texts:
            self._counts.update(set(terms_of(text)))
            self._num_texts += 1

    def weight(self, term: str) -> float:
        """A term's weight."""
        return math.log((1 + self._num_texts) / (1 + self._counts[term])) + 1

    def similarity(self, query: str, text: str) -> float:
        """The cosine of the two texts' weighted terms, in [0, 1]; 0 if either has none.

        Examples:
            >>> weights = TermWeights([])
            >>> round(weights.similarity("Jaws director", "Jaws the director: Jaws"), 3)  # 3 / (√2 √5)
            0.949
        """
        one, other = self._vector(query), self._vector(text)
        shared = sum(weight * other[term] for term, weight in one.items() if term in other)
        return shared / (_length(one) * _length(other)) if shared else 0.0

    def _vector(self, text: str) -> dict[str, float]:
        return {term: count * self.weight(term) for term, count in Counter(terms_of(text)).items()}


def _length(vector: Mapping[str, float]) -> float:
    return math.sqrt(math.fsum(weight * weight for weight in vector.values()))


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = words_of(text)
    return frozenset(words[at : at + SHINGLE] for at in range(max(len(words) - SHINGLE + 1, 1)))


def near_repeats(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """For each text, the earlier ones that it nearly repeats (shingles' Jaccard of at least `NEAR`).

    Two such sets must share one of the rarest shingles of either, so only texts that do are compared (prefix filtering,
    Chaudhuri et al. 2006).

    Examples:
        >>> near_repeats(["A cat sat here.", "The dog.", "a CAT sat here!"])
        [(), (), (0,)]
    """
    sets = [_shingles(text) for text in texts]
    frequency = Counter(shingle for shingles in sets for shingle in shingles)
    holders: dict[tuple[str, ...], list[int]] = {}
    found: list[tuple[int, ...]] = []
    for at, shingles in enumerate(sets):
        rarest = sorted(shingles, key=lambda shingle: (frequency[shingle], shingle))
        rarest = rarest[: len(rarest) - math.ceil(NEAR * len(rarest)) + 1]
        candidates = {earlier for shingle in rarest for earlier in holders.get(shingle, ())}
        found.append(tuple(sorted(earlier for earlier in candidates if _jaccard(sets[earlier], shingles) >= NEAR)))
        for shingle in rarest:
            holders.setdefault(shingle, []).append(at)
    return found


def _jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def distinct_share(texts: Iterable[str], size: int) -> float | None:
    """Distinct-n (Li et al. 2016, arXiv 1510.03055): different runs of `size` words by all; None if none.

    Examples:
        >>> distinct_share(["a b a", "a b"], 1), distinct_share(["a b a", "a b"], 2)
        (0.4, 0.6666666666666666)
    """
    runs = Counter(
        words[at : at + size] for words in map(words_of, texts) for at in range(max(len(words) - size + 1, 0))
    )
    total = sum(runs.values())
    return len(runs) / total if total else None


def copied_run(text: str, sources: Iterable[str]) -> bool:
    """Whether a text has `COPIED_RUN` words in a row that one of the sources has; a shorter text, all of its words."""
    words = words_of(text)
    size = min(COPIED_RUN, len(words))
    if size < 4:
        return False
    runs = {f" {' '.join(words[at : at + size])} " for at in range(len(words) - size + 1)}
    return any(run in source for source in map(_spaced, sources) for run in runs)


def copies_of(texts: Sequence[str], sources: Iterable[str]) -> list[bool]:
    """For each text, whether it has `COPIED_RUN` words in a row that one of many sources has.

    `copied_run` for sources by the thousand, which are read once and needn't fit into memory. Shorter texts copy
    nothing.

    Examples:
        >>> copies_of(["Now: a b c d e f g h.", "a b c"], ["x a b c d e f g h y"])
        [True, False]
    """
    holders: dict[tuple[str, ...], list[int]] = {}
    for at, words in enumerate(map(words_of, texts)):
        for start in range(len(words) - COPIED_RUN + 1):
            holders.setdefault(words[start : start + COPIED_RUN], []).append(at)
    found = [False] * len(texts)
    for words in map(words_of, sources):
        for start in range(len(words) - COPIED_RUN + 1):
            for at in holders.get(words[start : start + COPIED_RUN], ()):
                found[at] = True
    return found


def says_back(text: str, query: str) -> bool:
    """Whether a text holds the whole of a query of at least four words, word for word.

    Examples:
        >>> says_back("You ask who wrote War and Peace.", "who wrote War and Peace?")
        True
    """
    return len(words_of(query)) >= 4 and _spaced(query) in f" {' '.join(words_of(text))} "


@lru_cache(maxsize=256)
def _spaced(text: str) -> str:
    return f" {' '.join(words_of(text))} "
