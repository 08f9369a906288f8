"""Which questions nearly repeat others.

Questions are short: the three words in a row that `likeness.near_repeats` compares change with a single word in the
middle of one. Here, whole sets of words are compared, each word by how much it tells (inverse document frequency): the
likeness of two questions is the weight of the words that they share by that of all their words (weighted Jaccard).

What is likeness enough depends on the answers. Over NQ-open, pairs that share a golden answer are nearly always the
same question from 0.65 on ("when was the last easter fell on april 1", "… that fell on april 1st"); of those that share
none, many up to 0.84 are another one ("who won the first season of …", "who won the fifth season of …").
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from zs_env.likeness import near_repeats, stem_of, words_of
from zs_env.questions.prepare.checking import YES_NO
from zs_env.rewards import normalize_answer

__all__ = ["ALIKE", "ALIKE_SAME_ANSWER", "TELLS_MORE", "Match", "NearQuestions", "components", "near_questions"]

ALIKE_SAME_ANSWER = 0.65
"""From this likeness on, questions that share a golden answer (not yes or no) are near duplicates."""
ALIKE = 0.85
"""From this one on, questions that share none are."""
TELLS_MORE = 1.5
"""A word tells far more than another if it is rarer by more than this, in natural logarithms (4.5 times)."""
_MARGIN = 1e-9


@dataclass(frozen=True, slots=True)
class Match:
    """A question that is nearly repeated.

    Attributes:
        at: Its place among the texts that were given.
        likeness: How alike they are, from 0 to 1.
        same_answer: Whether they share a golden answer.
    """

    at: int
    likeness: float
    same_answer: bool


class NearQuestions:
    """Finds, for each question in turn, the earlier ones that it nearly repeats.

    Two sets of words that overlap by a share t hold in common one of the words that tell most in either: those whose
    removal leaves less than the share t of its weight (prefix filtering, Chaudhuri et al. 2006). So only questions are
    compared that share such a word, and whose weights are near enough.

    Args:
        questions: The questions, in order.
        answers: The golden answers of each.
    """

    def __init__(self, questions: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
        words = [frozenset(map(stem_of, words_of(question))) for question in questions]
        counts = Counter(word for group in words for word in group)
        order = sorted(counts, key=lambda word: (counts[word], word))  # rarest first
        number = {word: at for at, word in enumerate(order)}
        self._weights = [math.log((1 + len(words)) / (1 + counts[word])) + 1 for word in order]
        self._numbers = [word.isdigit() for word in order]
        self._words = [frozenset(number[word] for word in group) for group in words]
        self._totals = [math.fsum(self._weights[word] for word in sorted(group)) for group in self._words]
        self._answers = [frozenset(map(normalize_answer, given)) - YES_NO for given in answers]
        self._holders: dict[int, list[int]] = {}
        self.num_compared = 0

    def __len__(self) -> int:
        return len(self._words)

    def add(self, at: int) -> None:
        """Let later questions find this one."""
        for word in self._telling(at):
            self._holders.setdefault(word, []).append(at)

    def find(self, at: int) -> list[Match]:
        """The questions added so far that this one nearly repeats, the most alike first."""
        found = []
        words, total = self._words[at], self._totals[at]
        low, high = total * ALIKE_SAME_ANSWER, total / ALIKE_SAME_ANSWER
        for other in {other for word in self._telling(at) for other in self._holders.get(word, ())}:
            if not low <= self._totals[other] <= high:
                continue
            self.num_compared += 1
            shared = math.fsum(self._weights[word] for word in words & self._words[other])
            likeness = shared / (total + self._totals[other] - shared)
            if likeness < ALIKE_SAME_ANSWER or self._ask_of_others(at, other):
                continue
            same = not self._answers[at].isdisjoint(self._answers[other])
            if same or likeness >= ALIKE:
                found.append(Match(other, likeness, same))
        return sorted(found, key=lambda match: (-match.likeness, match.at))

    def _telling(self, at: int) -> Iterator[int]:
        rest = self._totals[at]
        enough = ALIKE_SAME_ANSWER * rest - _MARGIN
        for word in sorted(self._words[at]):
            if rest < enough:
                return
            yield word
            rest -= self._weights[word]

    def _ask_of_others(self, at: int, other: int) -> bool:
        """Whether each has a word of its own that tells what it asks of.

        Other numbers do: other years, other seasons. So does a word that tells far more than all that they share, as
        names do in questions made from one template ("… in the country that Amman belongs to", "… that Doha …").
        """
        one, two = self._words[at] - self._words[other], self._words[other] - self._words[at]
        if not one or not two:
            return False
        if any(self._numbers[word] for word in one) and any(self._numbers[word] for word in two):
            return True
        shared = max(self._weights[word] for word in self._words[at] & self._words[other])
        own = min(max(self._weights[word] for word in words) for words in (one, two))
        return own > shared + TELLS_MORE


def near_questions(questions: Sequence[str], answers: Sequence[Sequence[str]]) -> list[tuple[int, ...]]:
    """For each question, the places of the earlier ones that it nearly repeats, by its words or by its shingles.

    Args:
        questions: The questions, in order.
        answers: The golden answers of each.

    Examples:
        >>> near_questions(["who won the first battle", "the first battle, who won?", "why"], [["A"], ["a"], ["a"]])
        [(), (0,), ()]
    """
    near = NearQuestions(questions, answers)
    found = []
    for at, by_shingles in enumerate(near_repeats(questions)):
        found.append(tuple(sorted({*by_shingles, *(match.at for match in near.find(at))})))
        near.add(at)
    return found


def components(num: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `num` things, the first of those that it is connected to by pairs.

    Examples:
        >>> components(5, [(3, 1), (3, 4)])
        [0, 1, 2, 1, 1]
    """
    parent = list(range(num))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for one, other in pairs:
        first, last = sorted((root(one), root(other)))
        parent[last] = first
    return [root(at) for at in range(num)]
