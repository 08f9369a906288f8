"""The atlas: thousands of real one- and two-hop questions about the world's countries and cities, built in.

The facts come from GeoNames (CC BY 4.0, see `data/ATTRIBUTION.md`); `build_atlas` says how they were chosen. The splits
`train`, `validation` and `test` are divided **by entity**: no country or city of one is asked about, documented or an
answer in another. What they share are three closed classes of answers: currencies, languages and continents.

A question's metadata is `{"data_source": "atlas", "hops": 1 | 2, "split", "relation", "entity", "facts"}`; `facts` is
the chain to the answer: `[["Lyon", "country", "France"], ["France", "capital", "Paris"]]`.

Nothing is read before the atlas is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zs_env.errors import ConfigError
from zs_env.questions.atlas_text import DOCUMENTS, PHRASES, SINGLE_HOP, TWO_HOP, upper_first
from zs_env.questions.source import QuestionList
from zs_env.types import Question

__all__ = ["SPLITS", "Atlas", "Entity", "Fact", "World", "load_atlas"]

SPLITS = ("train", "validation", "test")
_DATA_FILE = Path(__file__).parent / "data" / "atlas.json"


@dataclass(frozen=True, slots=True)
class Entity:
    """A country or a city.

    Attributes:
        name: Its name, as questions and documents write it.
        kind: "country" (territories too) or "city".
        split: The split that it belongs to.
        aliases: Other names, ASCII spellings among them.
        in_sentence: Its name as it stands in the middle of a sentence: "the Netherlands".
    """

    name: str
    kind: str
    split: str
    aliases: tuple[str, ...]
    in_sentence: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact about the world.

    Attributes:
        entity: What it is about.
        relation: One of `RELATIONS`.
        answers: Every accepted name of the answer, the one to show first.
        answer_in_sentence: The first answer as it stands in a sentence: "the Netherlands".
    """

    entity: Entity
    relation: str
    answers: tuple[str, ...]
    answer_in_sentence: str

    @property
    def answer(self) -> str:
        """The answer to show."""
        return self.answers[0]

    def sentence(self, phrasing: int) -> str:
        """The fact as a document writes it, in one of three phrasings (0 to 2)."""
        template = DOCUMENTS[self.relation][phrasing]
        text = template.format(entity=self.entity.in_sentence, answer=self.answer_in_sentence)
        return upper_first(text.removesuffix(".") if text.endswith("..") else text)


class World:
    """The part of the atlas that one split sees: its entities, facts and questions, and nothing of the others.

    Attributes:
        split: The split's name.
        entities: Name to entity, in a fixed order.
        facts: (entity name, relation) to fact, in a fixed order.
    """

    def __init__(
        self,
        split: str,
        entities: Mapping[str, Entity],
        facts: Mapping[tuple[str, str], Fact],
        rows: list[tuple[str, str, int]],
    ) -> None:
        self.split = split
        self.entities = MappingProxyType(entities)
        self.facts = MappingProxyType(facts)
        self._rows = rows

    @staticmethod
    def phrase(relation: str) -> str:
        """What a relation is called in text: `"calling_code"` is "calling code"."""
        return PHRASES[relation]

    def facts_about(self, entity: str) -> tuple[Fact, ...]:
        """Every fact about an entity, by its name."""
        return self._facts_by_entity.get(entity, ())

    def facts_of(self, question: Question) -> tuple[Fact, ...]:
        """The chain of facts that leads to a question's answer, one a hop."""
        return tuple(self.facts[entity, relation] for entity, relation, _ in question.metadata["facts"])

    @cached_property
    def _facts_by_entity(self) -> dict[str, tuple[Fact, ...]]:
        found: dict[str, list[Fact]] = {}
        for (entity, _), fact in self.facts.items():
            found.setdefault(entity, []).append(fact)
        return {entity: tuple(facts) for entity, facts in found.items()}

    @cached_property
    def questions(self) -> QuestionList:
        """The split's questions, in their fixed order."""
        made = [self._question(i, *row) for i, row in enumerate(self._rows)]
        return QuestionList(made, name="atlas", split=self.split)

    def _question(self, index: int, name: str, relation: str, phrasing: int) -> Question:
        entity = self.entities[name]
        chain = [self.facts[name, "country"]] if entity.kind == "city" else []
        if relation != "country":
            chain.append(self.facts[chain[0].answer if chain else name, relation])
        template = (SINGLE_HOP if len(chain) == 1 else TWO_HOP)[relation][phrasing]
        return Question(
            id=f"atlas-{self.split}-{index:06d}",
            question=template.format(entity=entity.in_sentence),
            golden_answers=chain[-1].answers,
            metadata={
                "data_source": "atlas",
                "hops": len(chain),
                "split": self.split,
                "relation": relation,
                "entity": name,
                "facts": [[fact.entity.name, fact.relation, fact.answer] for fact in chain],
            },
        )


class Atlas:
    """The whole atlas: one `World` a split.

    Attributes:
        worlds: Split name to its world.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        entities: dict[str, dict[str, Entity]] = {split: {} for split in SPLITS}
        facts: dict[str, dict[tuple[str, str], Fact]] = {split: {} for split in SPLITS}
        numbered: list[Entity] = []
        for name, split, definite, aliases, known in data["countries"]:
            country = Entity(name, "country", split, tuple(aliases), f"the {name}" if definite else name)
            numbered.append(country)
            for relation, answers in known.items():
                accepted = tuple(data["currencies"][answers] if relation == "currency" else answers)
                if relation in ("calling_code", "domain"):
                    accepted += tuple(answer[1:] for answer in accepted)  # "+33" and "33", ".fr" and "fr"
                facts[split][name, relation] = Fact(country, relation, accepted, accepted[0])
        for name, number, aliases in data["cities"]:
            country = numbered[number]
            city = Entity(name, "city", country.split, tuple(aliases), name)
            numbered.append(city)
            names = (country.name, *country.aliases)
            facts[city.split][name, "country"] = Fact(city, "country", names, country.in_sentence)
        for entity in numbered:
            entities[entity.split][entity.name] = entity
        relations = data["relations"]
        rows = {
            split: [(numbered[number].name, relations[relation], phrasing) for number, relation, phrasing in chosen]
            for split, chosen in data["questions"].items()
        }
        self.worlds = MappingProxyType(
            {split: World(split, entities[split], facts[split], rows[split]) for split in SPLITS}
        )

    def world(self, split: str | None) -> World:
        """The world of a split.

        Raises:
            ConfigError: There is no such split; without one, training data could pass for test data.
        """
        world = self.worlds.get(split) if split is not None else None
        if world is None:
            raise ConfigError(
                f"The atlas has no split {split!r}; it has {', '.join(SPLITS)}. "
                'Name one: load_questions("atlas", "train").'
            )
        return world

    def __copy__(self) -> Atlas:
        return self

    def __deepcopy__(self, memo: object) -> Atlas:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return load_atlas, ()


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """Read the atlas; later calls give the same object."""
    return Atlas(json.loads(_DATA_FILE.read_bytes()))
