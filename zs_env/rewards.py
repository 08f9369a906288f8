"""What an episode is worth: pure functions of what the policy itself did.

A reward is any callable that takes an `Outcome` and returns a float. The built-in ones score the *parsed answer* that
the policy emitted, never a transcript: documents and the prompt's own examples can't earn anything. No answer scores
0 in each of them.

**Normalisation** (`normalize_answer`) is SQuAD's (Rajpurkar et al. 2016, arXiv 1606.05250, `evaluate-v1.1.py`): lower
case, no punctuation, no English articles, single spaces, with these decisions where SQuAD is silent or knows ASCII
alone:

- Unicode: NFKC first ("ﬁ" is "fi", full-width digits are digits), then `casefold` ("STRASSE" equals "Straße").
  Accents are kept: "São" is not "Sao"; a data set that accepts both lists both.
- Punctuation: ASCII's `string.punctuation`, as SQuAD has it, and every character of Unicode's categories P* and Cf
  (soft hyphens, zero-width and direction marks). It is deleted, not replaced by a space: "U.S." is "us", "well-known"
  is "wellknown", "3.5" is "35" (a known quirk of SQuAD's).
- Numerals stay as written: "two" is not "2"; "1,000" is "1000" because commas are punctuation.
- A text of which nothing remains ("A", "The", "!") stands for itself, stripped and case-folded: the gold "A" is
  matched by the answer "a", not by every answer and not by an empty one. Containment finds it only where it stands
  alone.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from zs_env.combining import stream_safe
from zs_env.errors import ConfigError

__all__ = [
    "REWARDS",
    "Outcome",
    "Reward",
    "Status",
    "WeightedReward",
    "as_words",
    "containment_reward",
    "containment_score",
    "contains_answer",
    "exact_match_reward",
    "exact_match_score",
    "f1_reward",
    "f1_score",
    "format_reward",
    "make_reward",
    "normalize_answer",
]

Status = Literal["answered", "out_of_turns", "search_failed"]
"""How an episode ended."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished episode looks like to a reward.

    Attributes:
        answer: The answer that the policy emitted, stripped; None if it never answered.
        golden_answers: Every accepted answer.
        status: How the episode ended.
        num_turns: Actions taken, invalid ones included.
        num_searches: Searches carried out.
        num_invalid_actions: Actions that were neither a search nor an answer.
        actions: The policy's own text, one entry a turn, as the episode kept it.
    """

    answer: str | None
    golden_answers: tuple[str, ...]
    status: Status
    num_turns: int
    num_searches: int
    num_invalid_actions: int
    actions: tuple[str, ...]


Reward = Callable[[Outcome], float]
"""Anything that scores an outcome. It must return a finite number."""


@lru_cache(maxsize=65_536)
def _normalize_short(text: str) -> str:
    return _normalize(text)


def _normalize(text: str) -> str:
    plain = unicodedata.normalize("NFKC", stream_safe(text)).casefold()
    kept = plain.translate(_ASCII_PUNCTUATION)
    if not kept.isascii():
        # Casefolding can undo NFKC's work ("ΐ"), so normalise once more before looking at categories.
        kept = unicodedata.normalize("NFKC", stream_safe(kept))
        kept = "".join(char for char in kept if not unicodedata.category(char).startswith(("P", "Cf")))
    normal = " ".join(_ARTICLES.sub(" ", kept).split())
    return normal or " ".join(plain.split())


def normalize_answer(text: str) -> str:
    """Normalise an answer for comparison; the module's docstring states the rules.

    Examples:
        >>> normalize_answer("The  U.S. Dollar!")
        'us dollar'
        >>> normalize_answer("A")
        'a'
    """
    return _normalize_short(text) if len(text) <= 256 else _normalize(text)


def exact_match_score(answer: str | None, golden_answers: Sequence[str]) -> float:
    """1.0 if the normalised answer equals a normalised golden answer, else 0.0.

    This is strict: containing the answer is not matching it (see `containment_score`).

    Examples:
        >>> exact_match_score("the Eiffel Tower.", ["Eiffel tower"])
        1.0
        >>> exact_match_score("Canada", ["Ada"])
        0.0
    """
    if answer is None:
        return 0.0
    normal = normalize_answer(answer)
    return float(bool(normal) and any(normal == normalize_answer(gold) for gold in golden_answers))


def f1_score(answer: str | None, golden_answers: Sequence[str]) -> float:
    """The best token F1 of the answer against any golden answer, in [0, 1] (SQuAD's, on normalised tokens).

    As in HotpotQA's evaluation, `yes`, `no` and `noanswer` earn nothing unless they match whole.

    Examples:
        >>> f1_score("Barack Obama", ["Barack Hussein Obama"])
        0.8
    """
    if answer is None:
        return 0.0
    normal = normalize_answer(answer)
    return max((_token_f1(normal, normalize_answer(gold)) for gold in golden_answers), default=0.0)


def _token_f1(answer: str, gold: str) -> float:
    closed = ("yes", "no", "noanswer")
    if answer == gold:
        return float(bool(answer))
    if answer in closed or gold in closed:
        return 0.0
    answer_tokens, gold_tokens = answer.split(), gold.split()
    if set(answer_tokens).isdisjoint(gold_tokens):
        return 0.0
    common = sum((Counter(answer_tokens) & Counter(gold_tokens)).values())
    return 2 * common / (len(answer_tokens) + len(gold_tokens)) if common else 0.0


@lru_cache(maxsize=65_536)
def _as_words_short(text: str) -> str:
    return f" {_normalize(text)} "


def as_words(text: str) -> str:
    """Normalise a text and put spaces around it, so that a substring of it is a run of whole words.

    Examples:
        >>> as_words("The Ada") in as_words("by Ada Lovelace"), as_words("Ada") in as_words("Canada")
        (True, False)
    """
    return _as_words_short(text) if len(text) <= 512 else f" {_normalize(text)} "


def contains_answer(normalized_text: str, normalized_gold: str) -> bool:
    """Whether a normalised golden answer stands in a normalised text as whole words ("ada" is not in "canada")."""
    return bool(normalized_gold) and f" {normalized_gold} " in f" {normalized_text} "


def containment_score(answer: str | None, golden_answers: Sequence[str]) -> float:
    """1.0 if the answer holds a golden answer as whole words, else 0.0.

    Examples:
        >>> containment_score("It is Paris, I think", ["Paris"])
        1.0
        >>> containment_score("Canada", ["Ada"])
        0.0
    """
    if answer is None:
        return 0.0
    words = as_words(answer)
    return float(any(as_words(gold) in words for gold in golden_answers))


def exact_match_reward(outcome: Outcome) -> float:
    """`"em"`: strict exact match of the answer."""
    return exact_match_score(outcome.answer, outcome.golden_answers)


def f1_reward(outcome: Outcome) -> float:
    """`"f1"`: token F1 of the answer."""
    return f1_score(outcome.answer, outcome.golden_answers)


def containment_reward(outcome: Outcome) -> float:
    """`"containment"`: whether the answer holds a golden answer."""
    return containment_score(outcome.answer, outcome.golden_answers)


def format_reward(outcome: Outcome) -> float:
    """`"format"`: the share of turns that were valid actions, if the episode was answered; else 0."""
    if outcome.answer is None or not outcome.num_turns:
        return 0.0
    return 1.0 - outcome.num_invalid_actions / outcome.num_turns


REWARDS: Mapping[str, Reward] = {
    "em": exact_match_reward,
    "f1": f1_reward,
    "containment": containment_reward,
    "format": format_reward,
}
"""The rewards that have a name."""


@dataclass(frozen=True)
class WeightedReward:
    """A weighted sum of named rewards, as `reward={"em": 1.0, "format": 0.1}` makes it.

    Attributes:
        weights: Reward name to weight; weights are finite and may be negative.
    """

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError(f"A weighted reward needs at least one of {sorted(REWARDS)}; got an empty mapping.")
        for name, weight in self.weights.items():
            _named_reward(name)
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
                raise ConfigError(f"The weight of reward {name!r} must be a finite number; got {weight!r}.")

    def __call__(self, outcome: Outcome) -> float:
        """The sum, over the named rewards, of weight times reward."""
        return sum(weight * REWARDS[name](outcome) for name, weight in self.weights.items())


def _named_reward(name: object) -> Reward:
    if not isinstance(name, str) or name not in REWARDS:
        raise ConfigError(
            f"Unknown reward {name!r}. Known rewards: {', '.join(sorted(REWARDS))}; or give a mapping of these to "
            "weights, or a callable that takes an Outcome and returns a float."
        )
    return REWARDS[name]


def make_reward(reward: str | Mapping[str, float] | Reward) -> Reward:
    """Turn the `reward` option into a reward.

    Args:
        reward: A name ("em", "f1", "containment", "format"), a mapping of names to weights, or a callable.

    Raises:
        ConfigError: The name is unknown, a weight isn't a finite number, or the value is of another kind.
    """
    if isinstance(reward, Mapping):
        return WeightedReward(dict(reward))
    if callable(reward):
        return reward
    return _named_reward(reward)
