"""What a query asks the atlas: an entity and a relation, found by their names."""

from __future__ import annotations

from dataclasses import dataclass

from zs_env.questions.atlas import Atlas, Entity
from zs_env.questions.atlas_text import fold

__all__ = ["Grounder", "Grounding"]

MAX_QUERY_CHARS = 1_000
MAX_QUERY_WORDS = 100
"""What a query says after this is not read, so that any query takes bounded time."""


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

# With these beside it, a name alone is asked about ("tell me about Togo").
_SMALL_WORDS = frozenset(
    word
    for words in (
        "a about all and any are at city e everything fact facts find for from g give i in info information is it know",
        "me more of on please s search show tell the to what which who",
    )
    for word in words.split()
)


@dataclass(frozen=True, slots=True)
class Grounding:
    """What a query asks for.

    Attributes:
        entity: The entity that it names, of whatever split; None if it names none.
        relation: The first relation that it asks for and that the entity has (any, without an entity).
        asks_other: Whether it asks for something else: for relations that the entity hasn't, or, with no relation, in
            words that are neither names nor small ("president of Togo").
    """

    entity: Entity | None
    relation: str | None
    asks_other: bool


class Grounder:
    """Finds the entity and the relation that a query asks about.

    Read from left to right, the longest name wins. Of the names in a query, one that has a relation that the query asks
    for is preferred, then the longest, then the first. Names of every split are known here, so that a longer name of
    another split isn't taken for a shorter one of this.
    """

    def __init__(self, atlas: Atlas) -> None:
        self._entities: dict[str, Entity] = {}
        for world in atlas.worlds.values():
            for entity in world.entities.values():
                for name in (entity.name, *entity.aliases):
                    self._entities.setdefault(fold(name), entity)
        self._relations = {word: relation for relation, words in _KEYWORDS.items() for word in words}
        self._lengths: dict[str, int] = {}  # first word -> words of the longest name or keyword that begins with it
        for name in (*self._entities, *self._relations):
            first, *rest = name.split()
            self._lengths[first] = max(self._lengths.get(first, 0), 1 + len(rest))

    def ground(self, query: str) -> Grounding:
        """Find what a query asks for; what isn't there is None."""
        words = fold(query[:MAX_QUERY_CHARS]).split()[:MAX_QUERY_WORDS]
        entities: list[tuple[int, Entity]] = []
        relations: list[str] = []
        start = num_other = 0
        while start < len(words):
            for length in range(self._lengths.get(words[start], 0), 0, -1):
                run = " ".join(words[start : start + length])
                if run in self._entities:
                    entities.append((length, self._entities[run]))
                elif run in self._relations:
                    relations.append(self._relations[run])
                else:
                    continue
                start += length - 1
                break
            else:
                num_other += words[start] not in _SMALL_WORDS
            start += 1
        if not entities:
            return Grounding(None, relations[0] if relations else None, False)
        best: Grounding | None = None
        best_key = (False, 0)
        for length, entity in entities:
            asked = next((r for r in relations if (r == "country") == (entity.kind == "city")), None)
            if (asked is not None, length) > best_key:
                best_key = asked is not None, length
                best = Grounding(entity, asked, asked is None and bool(relations or num_other))
        return best or Grounding(None, None, False)
