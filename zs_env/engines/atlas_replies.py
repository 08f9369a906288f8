"""How the template engine answers questions of the atlas: with facts, grounded in the query.

A reply is made of sentences, each a fact of the question's own split. Let E and R be the entity and relation that the
query asks for. There are

- the *main* sentence: (E, R) in a useful reply; (Z, R) with another answer in a noisy one;
- two or more *distractors*: (X, R), (Y, R), …, whose answers aren't main's;
- *fillers* of other relations: one about main's entity or a distractor's, one about E in a noisy reply and about some W
  in a useful one, the rest about anything.

No sentence but main of a useful reply holds the asked answer, or a golden answer of the question, in any of its forms.
Z and W are drawn as often as the split's questions ask about them, and sentences stand in random order: a reply's words
alone don't tell whether it is useful, only reading them against the query does.

Replies are dealt rather than composed: a *hand* is a reply about nothing in particular, made once and kept; a request
picks one by its seed and replaces main or a filler in it. That makes a reply cost microseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import NamedTuple

from zs_env.engines.draws import Draws, mix
from zs_env.engines.grounding import Grounder
from zs_env.questions.atlas import World
from zs_env.questions.atlas_text import JOINER, RELATIONS, template_words
from zs_env.rewards import normalize_answer
from zs_env.types import Document

__all__ = ["AtlasReplies", "Plan"]

NUM_PHRASINGS = 3
MIN_FACTS = 3  # main and two distractors, however few documents there are
HANDS = 1_024  # of a deck: a power of two, few enough to stay in a processor's cache
MAX_DECKS = 64
_NONE: frozenset[int] = frozenset()
TRIES = 10


class Plan(NamedTuple):
    """What all replies to one query for one question have in common.

    Attributes:
        options: The facts that answer the query: one, several if it names an entity alone, or none.
        fillers: For each option, the facts about the same entity that may stand beside it.
        supports: Whether an option is what the query asked for.
        relation: The relation that it asks for, if any.
        golden: The facts whose sentences hold a golden answer of the question.
    """

    options: tuple[int, ...]
    fillers: tuple[tuple[int, ...], ...]
    supports: bool
    relation: str | None
    golden: frozenset[int]


class Hand(NamedTuple):
    """A reply about nothing in particular.

    Attributes:
        facts: Its facts, in the order of their documents.
        documents: A document a fact.
        main: Where the main fact stands.
        about_main: Where a filler about main's entity stands; -1 if none does.
        about_other: Where the filler stands that becomes one about E in a noisy reply; -1 if none does.
    """

    facts: tuple[int, ...]
    documents: tuple[Document, ...]
    main: int
    about_main: int
    about_other: int


class AtlasReplies:
    """Writes replies from the facts of one split. Facts are numbers here: their places in `world.facts`."""

    def __init__(self, world: World, grounder: Grounder) -> None:
        self._world = world
        self._grounder = grounder
        self._facts = list(world.facts.values())
        numbers = {key: number for number, key in enumerate(world.facts)}
        self._about = {
            name: tuple(numbers[name, fact.relation] for fact in world.facts_about(name)) for name in world.entities
        }
        asked = Counter(numbers[fact.entity.name, fact.relation] for q in world.questions for fact in world.facts_of(q))
        # As many times as a question asks for it, so that it is drawn as often where nobody asked for it.
        self._pools = {
            relation: [n for n, fact in enumerate(self._facts) if fact.relation == relation for _ in range(asked[n])]
            for relation in RELATIONS
        }
        self._everything = [number for pool in self._pools.values() for number in pool]
        self._postings: dict[str, set[int]] = {}
        for number, fact in enumerate(self._facts):
            for word in normalize_answer(f"{fact.entity.name} {fact.answer}").split():
                self._postings.setdefault(word, set()).add(number)
        self._holding = lru_cache(maxsize=4_096)(self._find_holding)
        by_answers = {fact.answers: self._find_holding(fact.answers) for fact in self._facts}
        self._alike = [by_answers[fact.answers] for fact in self._facts]
        self._documents: list[tuple[Document, ...] | None] = [None] * len(self._facts)
        self._decks: dict[tuple[str, int], list[Hand | None]] = {}

    def plan(self, query: str, golden_answers: tuple[str, ...]) -> Plan:
        """Ground a query, and find what replies to it may hold."""
        grounding = self._grounder.ground(query)
        golden = self._holding(golden_answers)
        entity, relation = grounding.entity, grounding.relation
        known = self._about.get(entity.name, ()) if entity is not None and entity.split == self._world.split else ()
        options = tuple(n for n in known if relation is None or self._facts[n].relation == relation)
        fillers = tuple(
            tuple(n for n in known if n != option and n not in golden and n not in self._alike[option])
            for option in options
        )
        return Plan(options, fillers, bool(options) and not grounding.asks_other, relation, golden)

    def reply(self, plan: Plan, useful: bool, seed: int, topk: int) -> tuple[Document, ...]:
        """Write a reply of `topk` documents."""
        bits = mix(seed)
        options, all_fillers, _, relation, golden = plan
        fillers: tuple[int, ...] = ()
        alike: frozenset[int] = _NONE
        asked = -1
        if options:
            choice = (bits >> 26) % len(options) if len(options) > 1 else 0
            asked, fillers = options[choice], all_fillers[choice]
            alike = self._alike[asked]
        if relation is None:
            relation = self._facts[asked].relation if options else RELATIONS[(bits >> 26) % len(RELATIONS)]
        deck = self._decks.get((relation, topk)) or self._new_deck(relation, topk)
        place = bits & (HANDS - 1)
        for _ in range(TRIES):
            hand = deck[place] or self._deal(relation, topk, place, deck)
            if golden.isdisjoint(hand.facts) and alike.isdisjoint(hand.facts):
                break
            place = (place + (bits >> 10 | 1)) & (HANDS - 1)
        else:
            hand = self._repair(hand, relation, golden | alike, bits)
        facts, documents, main, about_main, about_other = hand
        if asked >= 0:
            written = list(documents)
            slot = about_other
            if useful:
                written[main] = self._document(asked, (bits >> 14) % NUM_PHRASINGS)
                slot = about_main
            if slot >= 0 and fillers and (useful or len(options) == 1):
                filler = fillers[(bits >> 16) % len(fillers)]
                if filler not in facts:
                    written[slot] = self._document(filler, (bits >> 20) % NUM_PHRASINGS)
            documents = tuple(written)
        return documents if topk >= MIN_FACTS else _merge(documents, topk, bits)

    def _document(self, number: int, phrasing: int) -> Document:
        documents = self._documents[number]
        if documents is None:
            fact = self._facts[number]
            documents = tuple(Document(fact.sentence(k)) for k in range(NUM_PHRASINGS))
            self._documents[number] = documents
        return documents[phrasing]

    def _find_holding(self, answers: tuple[str, ...]) -> frozenset[int]:
        """The facts whose sentences hold every word of one of the answers, at least."""
        found: set[int] = set()
        for answer in answers:
            words = set(normalize_answer(answer).split())
            words = words - template_words() or words
            found |= set.intersection(*(self._postings.get(word, set()) for word in words)) if words else set()
        return frozenset(found)

    def _new_deck(self, relation: str, topk: int) -> list[Hand | None]:
        while len(self._decks) >= MAX_DECKS:
            self._decks.pop(next(iter(self._decks)), None)
        deck: list[Hand | None] = [None] * HANDS
        self._decks[relation, topk] = deck
        return deck

    def _deal(self, relation: str, topk: int, place: int, deck: list[Hand | None]) -> Hand:
        """Make the hand at a deck's place: a function of the relation, topk and the place alone."""
        draws = Draws((RELATIONS.index(relation) * 1_000_003 + topk) * HANDS + place)
        num_facts = max(topk, MIN_FACTS)
        num_distractors = max(MIN_FACTS - 1, (num_facts - 1) // 2)
        pool = self._pools[relation]
        main = draws.pick(pool)
        facts = [main]
        for _ in range(num_distractors):
            facts.append(self._draw(draws, pool, self._alike[main], facts))
        about_main = about_other = -1
        while len(facts) < num_facts:
            turn = len(facts) - num_distractors - 1
            subject = draws.pick(facts[1:])
            if turn == 0 and draws.below(2):
                subject, about_main = main, len(facts)
            elif turn == 1:
                subject, about_other = draws.pick(pool), len(facts)
            siblings = [n for n in self._about[self._facts[subject].entity.name] if n != subject]
            facts.append(self._draw(draws, siblings or self._everything, self._alike[main], facts))
        order = draws.shuffle(list(range(num_facts)))
        ordered = tuple(facts[i] for i in order)
        hand = Hand(
            ordered,
            tuple(self._document(number, draws.below(NUM_PHRASINGS)) for number in ordered),
            order.index(0),
            order.index(about_main) if about_main >= 0 else -1,
            order.index(about_other) if about_other >= 0 else -1,
        )
        deck[place] = hand
        return hand

    def _repair(self, hand: Hand, relation: str, avoid: AbstractSet[int], bits: int) -> Hand:
        """Replace the facts of a hand that may not stand there."""
        draws = Draws(bits)
        facts, documents = list(hand.facts), list(hand.documents)
        for slot, number in enumerate(hand.facts):
            if number in avoid:
                pool = self._pools[relation] if self._facts[number].relation == relation else self._everything
                facts[slot] = self._draw(draws, pool, avoid, facts)
                documents[slot] = self._document(facts[slot], draws.below(NUM_PHRASINGS))
        return hand._replace(facts=tuple(facts), documents=tuple(documents))

    def _draw(self, draws: Draws, pool: Sequence[int], avoid: AbstractSet[int], used: Sequence[int]) -> int:
        """Draw a fact that is neither to avoid nor used; one used already if the world has no other."""
        for _ in range(TRIES):
            number = draws.pick(pool)
            if number not in avoid and number not in used:
                return number
        allowed = [number for number in dict.fromkeys(pool) if number not in avoid]
        unused = [number for number in allowed if number not in used]
        if unused or allowed:
            return draws.pick(unused or allowed)
        assert pool is not self._everything, "no sentence of this split is free of the golden answers"
        return self._draw(draws, self._everything, avoid, used)


def _merge(documents: Sequence[Document], topk: int, bits: int) -> tuple[Document, ...]:
    """Put three sentences into one or two documents."""
    cut = len(documents) if topk == 1 else 1 + (bits >> 24) % 2
    parts = (documents[:cut], documents[cut:])
    return tuple(Document(JOINER.join(document.text for document in part)) for part in parts if part)
