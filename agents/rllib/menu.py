"""`ActionMenu`: a numbered menu of searches and answers, instead of text, for policies that can't write."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from agents.rllib.reading import (
    RELATIONS,
    Statement,
    content_words,
    documents_in,
    name_words,
    names,
    read,
    relation_of,
    words,
)
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError
from zs_env.options import EpisodeMaker
from zs_env.prompts import escape
from zs_env.rewards import normalize_answer

__all__ = ["SEARCHES", "ActionMenu", "MenuObservation"]

SEARCHES = ("{question}", "{relation} of {entity}", "{relation} of {found}", "{last_query}")
"""The default searches of a menu."""

MenuObservation = Literal["features", "passed on"]

_BLANKS = ("question", "relation", "entity", "found", "last_query")
_MAX_COUNT = 5

SEARCH_FEATURES = ("holds a query", "share of turns in which it was asked")
CANDIDATE_FEATURES = (
    "holds a candidate",
    "is in the newest documents",
    "1 / (1 + searches since it was seen)",
    "statements that hold it, of 5",
    "share of the query's names in its statement",
    "share of the query's other words in its statement",
    "its statement holds the relation",
    "its statement ends in it",
    "is in the question",
    "was searched for",
)
GLOBAL_FEATURES = ("share of turns used", "is the last turn", "share of turns that searched")


@dataclass(slots=True)
class _Candidate:
    """Something that could be the answer, and what is known of it."""

    text: str
    words: frozenset[str]
    order: int
    in_question: bool = False
    asked: bool = False
    seen: int = -1  # the number of the search that brought it last; -1 if none did
    count: int = 0
    names: float = 0.0
    others: float = 0.0
    has_relation: bool = False
    is_end: bool = False

    @property
    def rank(self) -> tuple[Any, ...]:
        """Ascending: the best come first."""
        known = self.in_question or self.asked
        return known, -self.seen, -self.names, -self.others, not self.is_end, -self.count, self.order


@dataclass(slots=True)
class _Notes:
    """What a menu has read in an episode."""

    question: str = ""
    relation: str | None = None
    entity: str | None = None
    question_words: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    queries: list[str] = field(default_factory=list)
    candidates: dict[str, _Candidate] = field(default_factory=dict)
    turns: int = 0


class ActionMenu(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Turns the text actions of a search environment into a discrete menu: some searches, some answers.

    The menu has a slot for each search template and one for each candidate answer. Candidates come from the question
    and from the documents that the policy has been shown, never from anywhere else: what the newest search brought
    first, of that what stands beside the names and words that were searched for, then what ends a sentence, then what
    is said most often. A golden answer is in the menu exactly if one of the two sources has it.

    A slot can hold nothing: a candidate before any was found, "{found}" before a search. `info["action_mask"]` says
    which hold something, and `info["menu"]` what its "searches" and "answers" are. Picking one that doesn't is an
    invalid action, as nonsense is: it costs a turn.

    This is for small policies, and for seeing that a library's algorithm runs: which queries can be asked and how an
    answer is found in a document is built in here, and the policy learns to choose. A language model learns all of it
    by itself: `python -m agents train`.

    Args:
        env: A `ZeroSearch-v0`, wrapped or not, whose actions are text.
        searches: Templates of queries. "{question}" is the question, "{entity}" the longest name in it, "{relation}"
            the first of `relations` in it, "{found}" the first candidate that the newest search brought, and
            "{last_query}" the newest query.
        relations: What questions may ask for, the one that counts first.
        num_candidates: How many slots hold candidate answers.
        num_from_question: How many of these, the last ones, hold names out of the question.
        observation: "features": a vector of numbers, of a fixed length, on the menu, the turn and the question; or
            "passed on": the observation of `env` (with `FixedLengthTokens` around it, token ids).
        mask: Whether the observation is a dict of "observations" and "action_mask" instead, as RLlib's
            `ActionMaskingTorchRLModule` wants it.
        num_question_words: How many of the features count the question's words, by hash; names aren't counted.

    Attributes:
        slots: What each slot means now: a query or an answer; None where it holds nothing.
    """

    def __init__(
        self,
        env: gym.Env[Any, str],
        *,
        searches: Sequence[str] = SEARCHES,
        relations: Sequence[str] = RELATIONS,
        num_candidates: int = 6,
        num_from_question: int = 1,
        observation: MenuObservation = "features",
        mask: bool = False,
        num_question_words: int = 64,
    ) -> None:
        self.searches, self.relations = _check_templates(searches), _check_texts("relations", relations)
        gym.utils.RecordConstructorArgs.__init__(
            self,
            searches=self.searches,
            relations=self.relations,
            num_candidates=num_candidates,
            num_from_question=num_from_question,
            observation=observation,
            mask=mask,
            num_question_words=num_question_words,
        )
        gym.Wrapper.__init__(self, env)
        self.num_candidates = check_whole("num_candidates", num_candidates, least=1)
        self.num_from_question = check_whole("num_from_question", num_from_question, least=0)
        if num_from_question > num_candidates:
            raise ConfigError(
                f"num_from_question={num_from_question} slots are among the num_candidates={num_candidates}: give no "
                "more than those."
            )
        if observation not in get_args(MenuObservation):
            raise ConfigError(f"observation of a menu must be 'features' or 'passed on'; got {observation!r}.")
        if not isinstance(env.action_space, spaces.Text):
            raise ConfigError(f"A menu goes around an environment whose actions are text; got {env.action_space}.")
        self.num_question_words = check_whole("num_question_words", num_question_words, least=0)
        self.observes_features, self.mask = observation == "features", bool(mask)
        self.max_turns = _max_turns(env)
        self.slots: tuple[str | None, ...] = ()
        self._notes = _Notes()
        num_slots = len(self.searches) + num_candidates
        self.action_space = spaces.Discrete(num_slots)
        inner: Any = env.observation_space
        if self.observes_features:
            length = len(GLOBAL_FEATURES) + num_question_words + len(SEARCH_FEATURES) * len(self.searches)
            inner = spaces.Box(0.0, 1.0, (length + len(CANDIDATE_FEATURES) * num_candidates,), np.float32)
        self.observation_space = inner
        if self.mask:
            mask_space = spaces.Box(0.0, 1.0, (num_slots,), np.float32)
            self.observation_space = spaces.Dict({"action_mask": mask_space, "observations": inner})

    @property
    def feature_names(self) -> list[str]:
        """What each number of the features says."""
        found = [*GLOBAL_FEATURES, *(f"question words, bucket {i}" for i in range(self.num_question_words))]
        found += [f"{search}: {name}" for search in self.searches for name in SEARCH_FEATURES]
        return found + [f"answer {i}: {name}" for i in range(self.num_candidates) for name in CANDIDATE_FEATURES]

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which slots hold something; of that name other libraries ask for it."""
        return np.array([slot is not None for slot in self.slots], dtype=np.bool_)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, with a menu of searches."""
        observation, info = self.env.reset(seed=seed, options=options)
        question = escape(info["question"])
        entities = names(question)
        notes = self._notes = _Notes(
            question,
            relation_of(question, self.relations),
            max(reversed(entities), key=len, default=None),
            _bag(question, self.num_question_words),
        )
        for name in entities:
            _note(notes, name).in_question = True
        return self._observe(observation), self._inform(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Search or answer with what the slot holds."""
        number = int(action)
        if not 0 <= number < len(self.slots):
            raise ConfigError(f"The menu has the slots 0 to {len(self.slots) - 1}; got {action!r}.")
        held, is_search = self.slots[number], number < len(self.searches)
        if held is None:
            text = f"<think>Slot {number} holds nothing.</think>"
        else:
            text = f"<search>{held}</search>" if is_search else f"<answer>{held}</answer>"
        observation, reward, terminated, truncated, info = self.env.step(text)
        self._notes.turns += 1
        if "search" in info and not truncated:
            self._read(info["search"]["query"], documents_in(info["new_text"]))
        return self._observe(observation), float(reward), terminated, truncated, self._inform(info)

    def _read(self, query: str, documents: list[str]) -> None:
        """Take up what a search brought."""
        notes = self._notes
        notes.queries.append(query)
        asked_names, asked_words, asked = name_words(query), content_words(query), words(query)
        relation = words(notes.relation or "")
        for candidate in notes.candidates.values():
            candidate.asked = candidate.asked or candidate.words <= asked
        for document in documents:
            for statement in read(document):
                support = _share(asked_names, statement), _share(asked_words, statement)
                for text, is_end in statement.mentions:
                    candidate = _note(notes, text)
                    candidate.asked = candidate.asked or candidate.words <= asked
                    candidate.count += 1
                    if candidate.seen < len(notes.queries) - 1 or support > (candidate.names, candidate.others):
                        candidate.names, candidate.others = support
                        candidate.is_end = is_end
                        candidate.has_relation = bool(relation) and relation <= statement.words
                    candidate.seen = len(notes.queries) - 1

    def _ranked(self) -> list[_Candidate]:
        return sorted(self._notes.candidates.values(), key=lambda candidate: candidate.rank)

    def _candidates(self, ranked: list[_Candidate]) -> list[_Candidate | None]:
        """What the slots for answers hold: documents' candidates, and at the end the question's."""
        count = self.num_candidates - self.num_from_question
        asked = [candidate for candidate in ranked if candidate.in_question][: self.num_from_question]
        first = [candidate for candidate in ranked if candidate not in asked][:count]
        padding: list[_Candidate | None] = [None] * (count - len(first))
        return [*first, *padding, *asked, *[None] * (self.num_from_question - len(asked))]

    def _fill(self) -> list[_Candidate | None]:
        """Fill the slots; returns what those for answers hold."""
        notes, ranked = self._notes, self._ranked()
        newest = len(notes.queries) - 1
        found = next((c.text for c in ranked if c.seen == newest >= 0 and not (c.in_question or c.asked)), None)
        blanks = {
            "question": notes.question,
            "relation": notes.relation,
            "entity": notes.entity,
            "found": found,
            "last_query": notes.queries[-1] if notes.queries else None,
        }
        candidates = self._candidates(ranked)
        answers = [None if candidate is None else candidate.text for candidate in candidates]
        self.slots = (*(_fill_in(search, blanks) for search in self.searches), *answers)
        return candidates

    def _observe(self, passed_on: Any) -> Any:
        candidates = self._fill()
        observation = self._features(candidates) if self.observes_features else passed_on
        if not self.mask:
            return observation
        return {"action_mask": self.action_masks().astype(np.float32), "observations": observation}

    def _features(self, candidates: list[_Candidate | None]) -> npt.NDArray[np.float32]:
        """See `feature_names`."""
        notes, turns = self._notes, self.max_turns
        values: list[float] = [
            min(notes.turns / turns, 1.0),
            float(notes.turns >= turns - 1),
            min(len(notes.queries) / turns, 1.0),
            *notes.question_words,
        ]
        for query in self.slots[: len(self.searches)]:
            values += [float(query is not None), min(notes.queries.count(query or "") / turns, 1.0)]
        newest = len(notes.queries) - 1
        for candidate in candidates:
            if candidate is None:
                values += [0.0] * len(CANDIDATE_FEATURES)
                continue
            is_seen = candidate.seen >= 0
            values += [
                1.0,
                float(is_seen and candidate.seen == newest),
                1.0 / (1 + newest - candidate.seen) if is_seen else 0.0,
                min(candidate.count, _MAX_COUNT) / _MAX_COUNT,
                candidate.names,
                candidate.others,
                float(candidate.has_relation),
                float(candidate.is_end),
                float(candidate.in_question),
                float(candidate.asked),
            ]
        return np.array(values, dtype=np.float32)

    def _inform(self, info: dict[str, Any]) -> dict[str, Any]:
        count = len(self.searches)
        menu = {"searches": self.slots[:count], "answers": self.slots[count:]}
        return {**info, "action_mask": self.action_masks().astype(np.int8), "menu": menu}


def _max_turns(env: gym.Env[Any, Any]) -> int:
    maker = getattr(env.unwrapped, "maker", None)
    if not isinstance(maker, EpisodeMaker):
        raise ConfigError(f"A menu goes around a ZeroSearch-v0; got {env}.")
    return maker.settings.max_turns


def _note(notes: _Notes, text: str) -> _Candidate:
    """The candidate of a text, a new one if it is new."""
    key = normalize_answer(text)
    if key not in notes.candidates:
        notes.candidates[key] = _Candidate(text, words(text), len(notes.candidates))
    return notes.candidates[key]


def _share(asked: frozenset[str], statement: Statement) -> float:
    return len(asked & statement.words) / len(asked) if asked else 0.0


def _bag(question: str, size: int) -> npt.NDArray[np.float32]:
    """Which of `size` buckets a question's words fall into; small words count, too, names don't."""
    bag = np.zeros(size, np.float32)
    for word in words(question) - name_words(question) if size else ():
        bag[zlib.crc32(word.encode()) % size] = 1.0
    return bag


def _fill_in(template: str, blanks: dict[str, str | None]) -> str | None:
    """A template with its blanks filled; None if there is nothing for one of them."""
    for name, value in blanks.items():
        blank = f"{{{name}}}"
        if blank in template:
            if value is None:
                return None
            template = template.replace(blank, value)
    return template


def _check_templates(searches: Sequence[str]) -> tuple[str, ...]:
    for search in _check_texts("searches", searches):
        left = search
        for name in _BLANKS:
            left = left.replace(f"{{{name}}}", "")
        if "{" in left or "}" in left or "<" in left:
            raise ConfigError(
                f"A search of a menu is a text with the blanks {', '.join(f'{{{name}}}' for name in _BLANKS)}, and "
                f"neither other braces nor '<' in it; got {search!r}."
            )
    return tuple(searches)


def _check_texts(name: str, given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not given or not all(isinstance(text, str) and text.strip() for text in given):
        raise ConfigError(f"{name} must be a sequence of texts, at least one, none of them empty; got {given!r}.")
    return tuple(given)
