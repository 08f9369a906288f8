"""Which of the documents that a model wrote for a search are delivered: good ones are kept from reply to reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from zs_env.engines.draws import Draws
from zs_env.engines.llm.checking import Check
from zs_env.types import Document

__all__ = ["Drafts"]

NEARLY_THE_SAME = 0.8
"""Two documents are nearly the same if their sets of words have at least this Jaccard similarity."""

_PLACE_SALT = 0x5EED


class Drafts:
    """Collects the documents of one search until they are what was asked for.

    A document is left out if it may not be delivered by the check, if it is nearly the same as another or as an example
    of the prompt, or if it has not one word of the query's. The last is held back rather than lost: such documents fill
    up what the tries leave empty, and if no document of two replies has a word of the query's (another language, a
    paraphrase), it can't be told what is about the query, and none is held back.

    Args:
        check: What is asked for.
        topk: How many documents.
        seed: The search's draw: where a document goes that replaces another.
        examples: The documents of the prompt's own examples.
    """

    def __init__(self, check: Check, topk: int, seed: int, examples: Sequence[frozenset[str]] = ()) -> None:
        self._check = check
        self._topk = topk
        self._seed = seed
        self._known = list(examples)
        self._known_words = set(_all_words(tuple(examples)))
        self._good: list[Document] = []
        self._holds: list[bool] = []  # of each good document: whether it holds a golden answer
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

    def add(self, documents: Iterable[Document]) -> None:
        """Take the documents of a reply."""
        self._num_replies += 1
        for document in documents:
            self._num_written += 1
            words = word_set(document)
            if self._is_known(words):
                continue
            holds = self._check.holds(document)
            if holds and not self._check.gives_answer:
                if document not in self._spoiled:
                    self._spoiled.append(document)
                continue
            self._known.append(words)
            self._known_words |= words
            if holds or self._check.is_on_topic(document):
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

    def _is_known(self, words: frozenset[str]) -> bool:
        """Whether a document is nearly the same as one that is known."""
        # At most this share of its words may be missing there; so if it may miss n, one of any n + 1 is there.
        num_missed = int((1 - NEARLY_THE_SAME) * len(words) + 1e-6)
        longest = sorted(words, key=len)[-num_missed - 1 :]
        return not self._known_words.isdisjoint(longest) and any(
            _are_nearly_the_same(words, known) for known in self._known
        )

    @property
    def _are_met(self) -> bool:
        return any(self._holds) if self._check.kind == "answer" else self._check.is_met(self._good) is not False

    def _take(self, document: Document, holds: bool) -> None:
        """Keep a document. In a full set that isn't what it should be, one that helps replaces one that doesn't."""
        if len(self._good) < self._topk:
            self._good.append(document)
            self._holds.append(holds)
        elif not self._are_met and (holds or self._check.kind == "step"):
            # At a place that is drawn, so that the place doesn't tell which document came late, and so has the answer.
            place = Draws(self._seed ^ _PLACE_SALT).below(self._topk)
            self._good[place], self._holds[place] = document, holds


@lru_cache(maxsize=64)
def _all_words(examples: tuple[frozenset[str], ...]) -> frozenset[str]:
    return frozenset().union(*examples)


def word_set(document: Document) -> frozenset[str]:
    """The words of a document, for `NEARLY_THE_SAME`; of one without spaces, its pairs of characters."""
    text = document.text.casefold()
    words = frozenset([word.strip(".,;:!?\"'()[]“”’") for word in text.split()])
    return words if len(words) > 1 else frozenset(text[i : i + 2] for i in range(len(text)))


def _are_nearly_the_same(words: frozenset[str], known: frozenset[str]) -> bool:
    if not NEARLY_THE_SAME * len(words) <= len(known) <= len(words) / NEARLY_THE_SAME:
        return False  # whatever they share
    shared = len(words & known)
    return shared >= NEARLY_THE_SAME * (len(words) + len(known) - shared)
