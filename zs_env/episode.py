"""The episode: a state machine without I/O.

It hands out a `SearchRequest` and takes the `SearchResult` back, and never waits for anything. The env, the vector
env, the asynchronous rollouts and every adapter drive this one core, and hold no rule of their own:

    episode = Episode(question, settings, rng)
    first = episode.begin()                    # Step: the prompt
    step = episode.act("<search>…</search>")   # SearchRequest, or a Step
    if isinstance(step, SearchRequest):
        step = episode.observe(result)         # Step: the documents
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from zs_env.actions import clean_text, parse_action
from zs_env.curriculum import check_probability, check_whole
from zs_env.errors import ActionError, ConfigError, EngineContractError, EpisodeStateError, RewardError
from zs_env.prompts import (
    CORRECTION,
    PROMPTS,
    cut_documents,
    get_prompt,
    render_information,
    render_prompt,
    show_documents,
)
from zs_env.rewards import (
    Outcome,
    Reward,
    Status,
    as_words,
    exact_match_reward,
    exact_match_score,
    f1_score,
)
from zs_env.types import Quality, Question, SearchRequest, SearchResult

__all__ = ["Episode", "EpisodeSettings", "Provenance", "Segment", "Step"]

Provenance = Literal["prompt", "policy", "environment"]
"""Who wrote a part of the transcript."""


class Segment(NamedTuple):
    """A part of the transcript and who wrote it."""

    provenance: Provenance
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSettings:
    """What is the same for every episode of an environment.

    Attributes:
        max_turns: The most actions of an episode, invalid ones included, at least 1.
        topk: How many documents a search asks for, at least 1.
        reward: What a finished episode is worth.
        prompt: A template that holds `{question}`, or a name of `prompts.PROMPTS`.
        max_information_chars: The most characters that the documents of one search may have together, at least 100;
            longer ones are cut, the tags around them never. None for no limit.
    """

    max_turns: int = 5
    topk: int = 5
    reward: Reward = exact_match_reward
    prompt: str = PROMPTS["default"]
    max_information_chars: int | None = 20_000

    def __post_init__(self) -> None:
        check_whole("max_turns", self.max_turns, least=1)
        check_whole("topk", self.topk, least=1)
        object.__setattr__(self, "prompt", get_prompt(self.prompt))
        if self.max_information_chars is not None:
            check_whole("max_information_chars", self.max_information_chars, least=100)
        if not callable(self.reward):
            raise ConfigError(f"reward must be callable here (make_reward turns names into one); got {self.reward!r}.")


@dataclass(slots=True)
class Step:
    """What one action led to.

    Attributes:
        new_text: What the environment added to the transcript; empty at the end of an episode.
        reward: The reward of this action: 0.0 until the episode ends.
        terminated: The policy answered.
        truncated: The episode ended without an answer: out of turns, or its search failed.
        info: What is known about it, as `Episode` documents.
    """

    new_text: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    info: dict[str, Any] = field(default_factory=dict)


class Episode:
    """One question, from its prompt to its reward.

    `info` of the first step holds `question_id`, `question`, `noise_probability` and `new_text`. Each later one holds
    `new_text`, `turn` (counted from 1) and `action` ("search", "answer", "invalid"), and

    - after a search, `search`: `query`, `documents` (a tuple of `Document`), `quality` (what was asked for),
      `noise_probability`, `seed` (the draw), `supports_query`, `contains_golden` (whether the documents, as shown,
      hold a golden answer), `engine`, `latency_s`, `cost`, `cached`, `error`, `cut` (whether the budget cut the
      documents), `metadata`;
    - at the end: `answer`, `golden_answers`, `exact_match`, `f1`, `num_searches`, `status`. Golden answers appear
      nowhere before.

    Args:
        question: What is asked.
        settings: What all episodes of the environment share.
        rng: The environment's generator: two draws are taken from it for each search, whatever the noise probability
            is.
        noise_probability: The chance that a search asks for noisy documents, in [0, 1].
    """

    __slots__ = (
        "_actions",
        "_golden",
        "_num_invalid",
        "_num_searches",
        "_parts",
        "_request",
        "_rng",
        "_state",
        "_transcript",
        "noise_probability",
        "outcome",
        "question",
        "settings",
    )

    def __init__(
        self,
        question: Question,
        settings: EpisodeSettings,
        rng: np.random.Generator,
        noise_probability: float = 0.0,
    ) -> None:
        self.question = question
        self.settings = settings
        self.noise_probability = check_probability("noise_probability", noise_probability)
        self.outcome: Outcome | None = None
        self._rng = rng
        self._state: Literal["new", "acting", "searching", "done"] = "new"
        self._transcript = ""
        self._parts: list[tuple[Provenance, str]] = []
        self._request: SearchRequest | None = None
        self._golden: tuple[str, ...] | None = None
        self._actions: list[str] = []
        self._num_searches = 0
        self._num_invalid = 0

    @property
    def transcript(self) -> str:
        """The whole text so far: prompt, actions, and what the environment added."""
        return self._transcript

    @property
    def segments(self) -> list[Segment]:
        """The transcript in parts, each with who wrote it."""
        return [Segment(provenance, text) for provenance, text in self._parts]

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self._state == "done"

    @property
    def num_turns(self) -> int:
        """How many actions were taken."""
        return len(self._actions)

    def begin(self) -> Step:
        """Give the first observation: the prompt with the question.

        Raises:
            EpisodeStateError: The episode has begun already.
        """
        self._expect("new", "begin")
        self._state = "acting"
        text = render_prompt(self.settings.prompt, self.question.question)
        self._add("prompt", text)
        info = {
            "new_text": text,
            "question_id": self.question.id,
            "question": self.question.question,
            "noise_probability": self.noise_probability,
        }
        return Step(text, info=info)

    def act(self, text: str) -> SearchRequest | Step:
        """Take the policy's next text.

        Args:
            text: Anything the policy wrote; lone surrogates become U+FFFD.

        Returns:
            A request, whose result `observe` wants next; or a step, if the action was an answer, was invalid, or was
            the last one that was allowed (a search on the last turn is not carried out: nobody would read it).

        Raises:
            ActionError: The action is not a `str`.
            EpisodeStateError: The episode hasn't begun, has ended, or waits for a search result.
        """
        self._expect("acting", "act")
        if not isinstance(text, str):
            raise ActionError(f"An action is the policy's text, a str; got {type(text).__name__}: {text!r:.100}.")
        text = clean_text(text)
        action = parse_action(text)
        said = text[: action.end]
        self._actions.append(said)
        self._add("policy", said)
        if action.kind == "answer":
            return self._finish("answered", answer=action.content, action="answer")
        if action.kind == "invalid":
            self._num_invalid += 1
        if len(self._actions) >= self.settings.max_turns:
            return self._finish("out_of_turns", answer=None, action=action.kind)
        if action.kind == "invalid":
            return self._continue(CORRECTION, {"turn": len(self._actions), "action": "invalid"})
        self._state = "searching"
        quality_draw, seed_draw = self._rng.random(), self._rng.random()
        quality: Quality = "noisy" if quality_draw < self.noise_probability else "useful"
        self._request = SearchRequest(
            query=action.content,
            question=self.question,
            quality=quality,
            noise_probability=self.noise_probability,
            seed=int(seed_draw * 2**53),
            topk=self.settings.topk,
        )
        return self._request

    def observe(self, result: SearchResult, *, fits: Callable[[str], bool] | None = None) -> Step:
        """Take the result of the search that `act` asked for.

        A failed search ends the episode, truncated, with the status "search_failed" and reward 0; nothing of the
        failure's text reaches the transcript.

        Args:
            result: What the engine gave for the request.
            fits: Whether a whole `<information>` block fits the caller's own budget (of tokens, say). While it
                doesn't, the documents in it are cut, never its tags. A block that doesn't fit with empty documents is
                left at that: the caller sees its size and ends the episode.

        Raises:
            EngineContractError: The result breaks the engine protocol.
            EpisodeStateError: No search is under way.
        """
        self._expect("searching", "observe")
        request = self._request
        assert request is not None
        _check_result(result, request)
        self._request = None
        search = {
            "query": request.query,
            "documents": result.documents,
            "quality": request.quality,
            "noise_probability": request.noise_probability,
            "seed": request.seed,
            "supports_query": result.supports_query,
            "contains_golden": False,
            "engine": result.engine,
            "latency_s": result.latency_s,
            "cost": result.cost,
            "cached": result.cached,
            "error": result.error,
            "cut": False,
            "metadata": result.metadata,
        }
        if result.error is not None:
            step = self._finish("search_failed", answer=None, action="search")
            step.info["search"] = search
            return step
        self._num_searches += 1
        seen = show_documents(result.documents)
        whole = [line for line, _ in seen]
        shown = whole
        if self.settings.max_information_chars is not None:
            shown = cut_documents(shown, self.settings.max_information_chars)
        if fits is not None:
            shown = _cut_until(shown, fits)
        if self._golden is None:
            self._golden = tuple(map(as_words, self.question.golden_answers))
        # A golden answer holds no line break once it is normalised, so none is found across two documents.
        if shown is whole:
            haystack = "\n".join([words for _, words in seen])
        else:
            search["cut"] = True
            haystack = "\n".join(map(as_words, shown))
        for gold in self._golden:
            if gold in haystack:
                search["contains_golden"] = True
                break
        info = {"turn": len(self._actions), "action": "search", "search": search}
        return self._continue(render_information(shown), info)

    def _expect(self, state: str, call: str) -> None:
        if self._state != state:
            hint = {
                "new": "call begin() (or the env's reset()) first",
                "acting": "it waits for an action: call act()",
                "searching": "it waits for a search result: call observe() (if the env's last step was interrupted, "
                "by an error or a time-out, call reset())",
                "done": "it has ended: begin a new one (or reset() the env)",
            }[self._state]
            raise EpisodeStateError(f"Episode.{call}() was called out of order: {hint}.")

    def _add(self, provenance: Provenance, text: str) -> None:
        self._parts.append((provenance, text))
        self._transcript += text

    def _continue(self, text: str, info: dict[str, Any]) -> Step:
        self._state = "acting"
        self._add("environment", text)
        info["new_text"] = text
        return Step(text, info=info)

    def _finish(self, status: Status, *, answer: str | None, action: str) -> Step:
        self._state = "done"
        golden = self.question.golden_answers
        self.outcome = Outcome(
            answer=answer,
            golden_answers=golden,
            status=status,
            num_turns=len(self._actions),
            num_searches=self._num_searches,
            num_invalid_actions=self._num_invalid,
            actions=tuple(self._actions),
        )
        info = {
            "new_text": "",
            "turn": len(self._actions),
            "action": action,
            "answer": answer,
            "golden_answers": golden,
            "exact_match": exact_match_score(answer, golden),
            "f1": f1_score(answer, golden),
            "num_searches": self._num_searches,
            "status": status,
        }
        reward = 0.0 if status == "search_failed" else _checked_reward(self.settings.reward, self.outcome)
        return Step("", reward, status == "answered", status != "answered", info)


def _checked_reward(reward: Reward, outcome: Outcome) -> float:
    value = reward(outcome)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RewardError(
            f"The reward {reward!r} must return a finite number; it returned {value!r} for {outcome!r:.300}."
        )
    return number


def _check_result(result: SearchResult, request: SearchRequest) -> None:
    if not isinstance(result, SearchResult):
        raise EngineContractError(
            f"An engine must return SearchResult records; got {type(result).__name__}: {result!r:.100}."
        )
    if type(result.documents) is not tuple:
        raise EngineContractError(
            f"The documents of a result are a tuple of Document records; engine {result.engine!r} returned "
            f"{result.documents!r:.200}."
        )
    if len(result.documents) > request.topk:
        raise EngineContractError(
            f"Engine {result.engine!r} returned {len(result.documents)} documents where at most topk={request.topk} "
            "were asked for."
        )
    if result.error is not None and result.documents:
        raise EngineContractError(
            f"Engine {result.engine!r} returned documents beside the error {result.error!r:.100}."
        )


def _cut_until(shown: list[str], fits: Callable[[str], bool]) -> list[str]:
    """Cut documents by bisection to the longest that fit; empty ones if none does."""
    if fits(render_information(shown)):
        return shown
    low, high = 0, sum(map(len, shown))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(render_information(cut_documents(shown, middle))) else (low, middle)
    return cut_documents(shown, low)
