"""Demonstrations that read well and seldom do anything about what they read.

A demonstration is an episode played by a script, against the same episode core and the same engine that the policy will
meet. Its queries are "<relation> of <name>". After documents it restates what they say, or that it is missing, and then
mostly answers, whatever the question was: the second question of two is asked with a small probability only, and so
is a search that found nothing.

Half of them may be *practice*: the whole chain is walked to its end, so that reading and copying are learned at the
second hop too, but a choice to go on (the `<search>` after a thought) carries no loss. When to go on is not shown, only
how.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.warmstart.names import Inventor
from zs_env.bridge import search_blocking
from zs_env.curriculum import check_probability
from zs_env.episode import Episode, EpisodeSettings
from zs_env.prompts import render_information
from zs_env.questions import World
from zs_env.questions.atlas_text import PHRASES
from zs_env.types import Question, SearchEngine, SearchRequest

__all__ = ["MISSING", "UNKNOWN", "Demonstration", "DemonstrationSettings", "Demonstrator"]

MISSING = "missing"
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class DemonstrationSettings:
    """How weak the demonstrations are. Each is a probability.

    Attributes:
        ask_on: That the second question of two is asked once the first is answered.
        search_again: That a search is repeated when the documents don't help.
        noise: That a search gets noisy documents.
        rename: That names are replaced by invented ones.
        practice: That a demonstration is practice.
        recall: That it is a list of invented facts and questions about them, without a search.
    """

    ask_on: float = 0.2
    search_again: float = 0.2
    noise: float = 0.4
    rename: float = 0.75
    practice: float = 0.5
    recall: float = 0.1

    def __post_init__(self) -> None:
        for name in ("ask_on", "search_again", "noise", "rename", "practice", "recall"):
            check_probability(name, getattr(self, name))


class Demonstration(NamedTuple):
    """A transcript to imitate.

    Attributes:
        parts: Texts in order, each with whether the policy says it.
        practice: Whether choices to go on are left out of the loss.
    """

    parts: tuple[tuple[str, bool], ...]
    practice: bool


class Demonstrator:
    """Plays demonstrations on one split of the atlas.

    Args:
        world: The split.
        engine: What answers searches.
        settings: How weak they are.
        episode: The episodes' settings: as the policy will meet them.
    """

    def __init__(
        self, world: World, engine: SearchEngine, settings: DemonstrationSettings, episode: EpisodeSettings
    ) -> None:
        self._world = world
        self._engine = engine
        self._settings = settings
        self._episode = episode

    def draw(self, rng: random.Random, inventor: Inventor) -> Demonstration:
        """Draw a demonstration of any kind."""
        settings = self._settings
        if rng.random() < settings.recall:
            return recall(rng, inventor)
        questions = self._world.questions
        practice = rng.random() < settings.practice
        shown = self.play(questions[rng.randrange(len(questions))], rng, practice=practice)
        if rng.random() < settings.rename:
            rename = inventor.renamer(rng)
            shown = shown._replace(parts=tuple((rename(text), said) for text, said in shown.parts))
        return shown

    def play(self, question: Question, rng: random.Random, *, practice: bool) -> Demonstration:
        """Play one question by the script."""
        settings = self._settings
        ask_on, search_again = (1.0, 1.0) if practice else (settings.ask_on, settings.search_again)
        chain = [
            (PHRASES[fact.relation], fact.entity.in_sentence, fact.answer_in_sentence)
            for fact in self._world.facts_of(question)
        ]
        episode = Episode(question, self._episode, np.random.default_rng(rng.getrandbits(63)), settings.noise)
        episode.begin()
        hop, said = 0, f"<search> {chain[0][0]} of {chain[0][1]}</search>"
        while isinstance(request := episode.act(said), SearchRequest):
            result = search_blocking(self._engine, [request])[0]
            episode.observe(result)
            relation, name, answer = chain[hop]
            may_search = episode.num_turns < self._episode.max_turns - 1
            if result.supports_query:
                said = f"<think> {relation} of {name} is {answer}</think>"
                goes_on, otherwise = hop + 1 < len(chain) and rng.random() < ask_on, answer
            else:
                said = f"<think> {relation} of {name} is {MISSING}</think>"
                goes_on, otherwise = rng.random() < search_again, UNKNOWN
            if goes_on and may_search:
                hop += bool(result.supports_query)
                said += f"<search> {chain[hop][0]} of {chain[hop][1]}</search>"
            else:
                said += f"<answer> {otherwise}</answer>"
        return Demonstration(tuple((part.text, part.provenance == "policy") for part in episode.segments), practice)


def recall(rng: random.Random, inventor: Inventor, num_facts: int = 6, num_asked: int = 3) -> Demonstration:
    """A list of invented facts, and three of them recalled: copying, and nothing else.

    Args:
        rng: What it is drawn from.
        inventor: Where names come from.
        num_facts: Facts in the list.
        num_asked: How many of them are recalled.
    """
    relations = list(PHRASES.values())
    facts: dict[tuple[str, str], str] = {}
    while len(facts) < num_facts:
        facts[rng.choice(relations), inventor.name(rng)] = inventor.name(rng)
    listed = [f"{relation} of {name} is {answer}." for (relation, name), answer in facts.items()]
    parts = [(render_information(listed), False)]
    for (relation, name), answer in rng.sample(list(facts.items()), num_asked):
        parts.append((f"<think> {relation} of {name} is {answer}</think><answer> {answer}</answer>", True))
    return Demonstration(tuple(parts), practice=False)
