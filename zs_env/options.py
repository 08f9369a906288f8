"""The options of an environment, checked and resolved once, and the making of episodes from them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from zs_env.curriculum import Curriculum, check_probability, make_curriculum
from zs_env.engines import make_engine
from zs_env.engines.around import around
from zs_env.episode import Episode, EpisodeSettings
from zs_env.errors import ConfigError, QuestionError
from zs_env.questions import load_questions
from zs_env.rewards import Reward, make_reward
from zs_env.types import Question, QuestionSource, SearchEngine

__all__ = ["EpisodeMaker", "Noise", "as_question"]

ObservationMode = Literal["transcript", "new"]

DEFAULT_QUESTIONS = "atlas"

_RESET_OPTIONS = ("question", "noise_probability", "training_step")


def as_question(value: Question | Mapping[str, Any]) -> Question:
    """Turn the `question` option of `reset` into a `Question`.

    Args:
        value: A `Question`, or a mapping with `question`, `golden_answers` (a list of texts, or one) and, if wanted,
            `id` and `metadata`.

    Raises:
        QuestionError: A key is missing or unknown, or a value is of the wrong kind or empty.
    """
    if isinstance(value, Question):
        return value
    rule = "a question is a mapping with 'question' and 'golden_answers' and, if wanted, 'id' and 'metadata'"
    if not isinstance(value, Mapping):
        raise QuestionError(f"{rule}; got {type(value).__name__}: {value!r:.100}.")
    unknown = set(value) - {"id", "question", "golden_answers", "metadata"}
    if unknown or not {"question", "golden_answers"} <= set(value):
        raise QuestionError(f"{rule}; got the keys {sorted(map(str, value))}.")
    golden = value["golden_answers"]
    return Question(
        id=value.get("id", "given"),
        question=value["question"],
        golden_answers=(golden,) if isinstance(golden, str) else golden,
        metadata=value.get("metadata") or {},
    )


def _make_search(
    engine: SearchEngine | None,
    search_mode: str,
    given: Mapping[str, Any],
    search_options: Mapping[str, Any] | None,
    search_around: Mapping[str, Any] | None,
) -> SearchEngine:
    """The engine of an environment, with what is put around it."""
    options = _names_of("search_options", search_options)
    twice = sorted(set(given) & set(options))
    if twice:
        raise ConfigError(f"{', '.join(twice)} is given twice, directly and in search_options: leave one of them out.")
    options = {**given, **options}
    if engine is not None and (options or search_mode != "template"):
        raise ConfigError(
            f"engine= brings its own search: leave out search_mode (got {search_mode!r}), simulation_llm, base_url, "
            f"check and search_options (got {options})."
        )
    if engine is not None and not callable(getattr(engine, "search", None)):
        raise ConfigError(f"engine must have an async search(requests) method; got {engine!r}.")
    wrappers = _names_of("search_around", search_around)
    known = [name for name in inspect.signature(around).parameters if name != "engine"]
    unknown = [name for name in wrappers if name not in known]
    if unknown:
        raise ConfigError(
            f"search_around doesn't take {', '.join(map(repr, unknown))}. It takes {', '.join(map(repr, known))}."
        )
    if engine is not None:
        return around(engine, **wrappers)
    return around(lambda: make_engine(search_mode, **options), **wrappers)


def _names_of(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ConfigError(f"{name} must be a mapping of names to values; got {given!r:.200}.")
    return dict(given)


class Noise:
    """The noise probability of one environment: what its options set, and what a reset moved.

    A `training_step` given to a reset moves the curriculum and stays. A `noise_probability` given to a reset holds
    until the next reset that is asked for (automatic resets in between keep it).
    """

    __slots__ = ("_base", "value")

    def __init__(self, base: float) -> None:
        self._base = base
        self.value = base

    def move(self, options: Mapping[str, Any], curriculum: Curriculum | None) -> None:
        """Apply the options of a reset.

        Raises:
            ConfigError: Both options are given, or a training step without a curriculum, or a value is out of range.
        """
        probability, step = options.get("noise_probability"), options.get("training_step")
        if probability is not None and step is not None:
            raise ConfigError("Give reset either noise_probability or training_step, not both.")
        if step is not None:
            if curriculum is None:
                raise ConfigError(
                    f"reset got training_step={step!r}, but the environment has no curriculum to move: make it with "
                    "curriculum={'start': 0.25, 'end': 0.5, 'total_steps': 203}, or give reset a noise_probability."
                )
            self._base = curriculum.noise_probability(step)
        self.value = self._base if probability is None else check_probability("noise_probability", probability)


class EpisodeMaker:
    """Makes episodes by the options of an environment; shared by all sub-environments of a vector.

    The arguments are `SimulatedSearchEnv`'s.
    """

    def __init__(
        self,
        *,
        questions: str | QuestionSource | Sequence[Any] = DEFAULT_QUESTIONS,
        split: str | None = None,
        search_mode: str = "template",
        simulation_llm: str | None = None,
        base_url: str | Sequence[str] | None = None,
        check: bool | None = None,
        search_options: Mapping[str, Any] | None = None,
        search_around: Mapping[str, Any] | None = None,
        topk: int = 5,
        max_turns: int = 5,
        reward: str | Mapping[str, float] | Reward = "em",
        noise_probability: float | None = None,
        curriculum: Curriculum | Mapping[str, Any] | None = None,
        observation: ObservationMode = "transcript",
        prompt: str = "default",
        max_information_chars: int | None = 20_000,
        engine: SearchEngine | None = None,
    ) -> None:
        self.settings = EpisodeSettings(
            max_turns=max_turns,
            topk=topk,
            reward=make_reward(reward),
            prompt=prompt,
            max_information_chars=max_information_chars,
        )
        if observation not in ("transcript", "new"):
            raise ConfigError(
                f"observation must be 'transcript' (the whole text so far) or 'new' (what was added); "
                f"got {observation!r}."
            )
        self.observes_transcript = observation == "transcript"
        self.curriculum = make_curriculum(curriculum)
        if noise_probability is not None and self.curriculum is not None:
            raise ConfigError(
                f"Give either noise_probability (got {noise_probability!r}) or curriculum (got {curriculum!r}), "
                "not both."
            )
        self.noise_probability = (
            self.curriculum.noise_probability(0)
            if self.curriculum is not None
            else check_probability("noise_probability", 0.0 if noise_probability is None else noise_probability)
        )
        given = {"simulation_llm": simulation_llm, "base_url": base_url, "check": check}
        self.engine = _make_search(
            engine,
            search_mode,
            {name: value for name, value in given.items() if value is not None},
            search_options,
            search_around,
        )
        if split is None and isinstance(questions, str) and questions == DEFAULT_QUESTIONS:
            split = "train"
        self.questions = load_questions(questions, split)
        if len(self.questions) == 0:
            raise ConfigError(f"The question source {questions!r} holds no questions.")

    def __deepcopy__(self, memo: dict[int, Any]) -> EpisodeMaker:
        """Nothing in here changes, and the engine is to be shared: copies of an environment share all of it."""
        return self

    def new_noise(self) -> Noise:
        """The noise probability that a fresh sub-environment starts with."""
        return Noise(self.noise_probability)

    def check_reset_options(self, options: Mapping[str, Any] | None, *also: str) -> Mapping[str, Any]:
        """Refuse unknown reset options, and give an empty mapping for None.

        Raises:
            ConfigError: An option is unknown.
        """
        if options is None:
            return {}
        known = _RESET_OPTIONS + also
        unknown = [name for name in options if name not in known]
        if unknown:
            raise ConfigError(f"Unknown reset options {unknown}; known: {', '.join(known)}.")
        return options

    def new_episode(self, rng: np.random.Generator, noise: Noise, question: Question | None = None) -> Episode:
        """Make an episode.

        Args:
            rng: The sub-environment's generator; without a question, one is drawn uniformly from the source.
            noise: The sub-environment's noise probability.
            question: The question to ask.
        """
        if question is None:
            question = self.questions[int(rng.random() * len(self.questions))]
        return Episode(question, self.settings, rng, noise.value)
