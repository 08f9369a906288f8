"""What a query asks the atlas: an entity and a relation, found by their names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zs_env.questions.atlas import Atlas, Entity
from zs_env.questions.atlas_text import fold

__all__ = ["Grounder", "Grounding"]

MAX_QUERY_CHARS = 1_000
"""What a query says after this many characters is not read, so that any query takes bounded time."""

# The words that ask for a relation, folded; a country's relations and a city's `country` are told apart by the entity.
_KEYWORDS = {
    "capital": ("capital", "capitals", "seat of government"),
    "currency": ("currency", "currencies", "money", "legal tender", "pay", "paid"),
    "continent": ("continent", "continents"),
    "language": ("language", "languages", "speak", "spoken", "speaks", "tongue"),
    "calling_code": ("calling", "dial", "dialing", "dialling", "phone", "telephone", "country code", "prefix"),
    "domain": ("domain", "domains", "internet", "tld", "cctld", "top level"),
    "country": ("country", "countries", "nation", "where", "located", "belongs", "belong", "situated", "lies"),
}


@dataclass(frozen=True, slots=True)
class Grounding:
    """What a query asks for.

    Attributes:
        entity: The entity that it names, of whatever split; None if it names none.
        relation: The first relation that it asks for and that the entity has (any, without an entity).
        asks_other: Whether it asks for relations, but for none that the entity has.
    """

    entity: Entity | None
    relation: str | None
    asks_other: bool


class Grounder:
    """Finds the entity and relation of a query: longest name first, then the earliest.

    Names of every split are known here, so that a longer name of another split isn't taken for a shorter one of this.
    """

    def __init__(self, atlas: Atlas) -> None:
        self._entities: dict[tuple[str, ...], Entity] = {}
        for world in atlas.worlds.values():
            for entity in world.entities.values():
                for name in (entity.name, *entity.aliases):
                    self._entities.setdefault(tuple(fold(name).split()), entity)
        self._relations = {tuple(word.split()): r for r, words in _KEYWORDS.items() for word in words}
        self._longest_name = max(map(len, self._entities))
        self._longest_keyword = max(map(len, self._relations))

    def ground(self, query: str) -> Grounding:
        """Find what a query asks for; what isn't there is None."""
        words = fold(query[:MAX_QUERY_CHARS]).split()
        entity, start, end = self._find_entity(words)
        relations = [*self._find_relations(words[:start]), *self._find_relations(words[end:])]
        has = [r for r in relations if entity is None or (r == "country") == (entity.kind == "city")]
        return Grounding(entity, has[0] if has else None, bool(relations) and not has)

    def _find_entity(self, words: list[str]) -> tuple[Entity | None, int, int]:
        for length in range(min(self._longest_name, len(words)), 0, -1):
            for start in range(len(words) - length + 1):
                entity = self._entities.get(tuple(words[start : start + length]))
                if entity is not None:
                    return entity, start, start + length
        return None, len(words), len(words)

    def _find_relations(self, words: list[str]) -> Iterable[str]:
        for start in range(len(words)):
            for length in range(self._longest_keyword, 0, -1):
                relation = self._relations.get(tuple(words[start : start + length]))
                if relation is not None:
                    yield relation
                    break
