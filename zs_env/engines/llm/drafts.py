"""Which of the documents that a model wrote for a search are delivered: good ones are kept from reply to reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zs_env.engines.draws import Draws
from zs_env.engines.llm.checking import Check
from zs_env.types import Document

__all__ = ["Drafts", "Examples"]

NEARLY_THE_SAME = 0.8
"""Two documents are nearly the same if their sets of words have at least this Jaccard similarity."""

_PLACE_SALT = 0x5EED
_MARKS = str.maketrans(dict.fromkeys(".,;:!?\"'()[]“”’", " "))


@dataclass(frozen=True, slots=True)
class Examples:
    """The documents of a prompt's own examples, ready to be compared with what the model writes.

    Attributes:
        words: The set of words of each.
        telling: Of each, the longest words, as many that what is nearly the same has one of them at least.
    """

    words: tuple[frozenset[str], ...] = ()
    telling: frozenset[str] = frozenset()

    @classmethod
    def of(cls, documents: Iterable[Document]) -> Examples:
        """Make them of documents."""
        words = tuple(map(word_set, documents))
        return cls(words, frozenset(word for known in words for word in _telling(known)))

    def have(self, words: frozenset[str]) -> bool:
        """Whether one of them is nearly the same as a document with these words."""
        return not self.telling.isdisjoint(words) and any(_are_nearly_the_same(words, known) for known in self.words)


class Drafts:
    """Collects the documents of one search until they are what was asked for.

    A document is left out if it may not be delivered by the check, if it is nearly the same as another or as an example
    of the prompt, or if it has not one word of the query's. One that is nearly the same as another but for the answer
    that is missing takes its place. What has no word of the query's is held back rather than lost: such documents fill
    up what the tries leave empty, and if no document of two replies has a word of the query's (another language, a
    paraphrase), it can't be told what is about the query, and none is held back.

    Args:
        check: What is asked for.
        topk: How many documents.
        seed: The search's draw: where a document goes that replaces another.
        examples: The documents of the prompt's own examples.
    """

    def __init__(self, check: Check, topk: int, seed: int, examples: Examples | None = None) -> None:
        self._check = check
        self._topk = topk
        self._seed = seed
        self._examples = examples or Examples()
        self._known: list[frozenset[str]] = []
        self._good: list[Document] = []
        self._is_held = False  # whether one of the good documents holds a golden answer
        self._aside: list[Document] = []
        self._spoiled: list[Document] = []
        self._num_replies = 0
        self._num_written = 0
        self._any_about = False

    @property
    def is_done(self) -> bool:
        """Whether there are enough documents, and they are what was asked for."""
        return len(self._good) == self._topk and self._are_met

    @property
    def num_missing(self) -> int:
        """How many documents to ask for next, at least 1; two where a full set isn't what it should be."""
        return self._topk - len(self._good) or min(2, self._topk)

    @property
    def num_left_out(self) -> int:
        """How many documents were written in vain, if nothing more comes."""
        return self._num_written - len(self.delivered())

    def add(self, documents: Sequence[Document]) -> None:
        """Take the documents of a reply."""
        self._num_replies += 1
        self._num_written += len(documents)
        free = self._check.are_surely_free(documents)
        for document in documents:
            words = word_set(document)
            if self._examples.have(words) and not (self._check.gives_answer and self._check.holds(document)):
                continue  # a copy, unless the question is the example's own
            if any(_are_nearly_the_same(words, known) for known in self._known):
                if not free and not self._is_held and self._check.kind == "answer" and self._check.holds(document):
                    self._put_right(document, words)
                continue
            # Which documents hold an answer matters until one of them is known to, where they may.
            is_needless = free or (self._is_held and self._check.gives_answer)
            holds = not is_needless and self._check.holds(document)
            if holds and not self._check.gives_answer:
                if document not in self._spoiled:
                    self._spoiled.append(document)
                continue
            self._known.append(words)
            if holds or self._check.is_on_topic(document) or (is_needless and not free and self._check.holds(document)):
                self._any_about = True
                self._take(document, holds)
            else:
                self._aside.append(document)
        if self._num_replies > 1 and not self._any_about:
            aside, self._aside = self._aside, []
            for document in aside:
                self._take(document, holds=False)

    def delivered(self) -> list[Document]:
        """The documents to deliver if nothing more comes: the best there are, perhaps none."""
        documents = [*self._good, *self._aside][: self._topk]
        return documents or self._spoiled[-self._topk :]

    @property
    def verdict(self) -> bool | None:
        """Whether what is delivered, if nothing more comes, is what was asked for; None where that can't be told."""
        if self._check.kind == "answer" and self._good:
            return self._is_held
        return self._check.is_met(self.delivered())

    @property
    def _are_met(self) -> bool:
        if self._check.kind in ("answer", "noisy"):  # no noise that holds an answer is among the good
            return self._check.kind == "noisy" or self._is_held
        return self._check.is_met(self._good) is not False

    def _put_right(self, document: Document, words: frozenset[str]) -> None:
        """Have a document that holds an answer take the place of the one that says nearly the same without it."""
        self._any_about = True
        for place, good in enumerate(self._good):
            if _are_nearly_the_same(words, word_set(good)):
                self._good[place] = document
                self._is_held = True
                return
        self._aside = [other for other in self._aside if not _are_nearly_the_same(words, word_set(other))]
        self._known.append(words)
        self._take(document, holds=True)

    def _take(self, document: Document, holds: bool) -> None:
        """Keep a document. In a full set that isn't what it should be, one that helps replaces one that doesn't."""
        if len(self._good) < self._topk:
            self._good.append(document)
        elif not self._are_met and (holds or self._check.kind == "step"):
            # At a place that is drawn, so that the place doesn't tell which document came late, and so has the answer.
            self._good[Draws(self._seed ^ _PLACE_SALT).below(self._topk)] = document
        else:
            return
        self._is_held = self._is_held or holds


def word_set(document: Document) -> frozenset[str]:
    """The words of a document, for `NEARLY_THE_SAME`; of one without spaces, its pairs of characters."""
    text = document.text.casefold()
    words = frozenset(text.translate(_MARKS).split())
    return words if len(words) > 1 else frozenset(text[i : i + 2] for i in range(len(text)))


def _are_nearly_the_same(words: frozenset[str], known: frozenset[str]) -> bool:
    here, there = len(words), len(known)
    if not NEARLY_THE_SAME * here <= there <= here / NEARLY_THE_SAME:
        return False  # whatever they share
    shared = len(words & known)
    return shared >= NEARLY_THE_SAME * (here + there - shared)


def _telling(words: frozenset[str]) -> list[str]:
    # At most this share of them may be missing in what is nearly the same; so of one more, one is there.
    num_missing = int((1 - NEARLY_THE_SAME) * len(words) + 1e-6)
    return sorted(words, key=len)[-num_missing - 1 :]
