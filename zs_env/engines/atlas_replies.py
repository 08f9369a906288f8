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

Replies are dealt rather than composed: a *hand* has distractors, fillers and their order, is made once, and serves
useful and noisy replies alike; a request picks one by its seed and fills in what depends on E, Z and W. That makes a
reply cost microseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import NamedTuple

from zs_env.engines.draws import PRIME, Draws, mix
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
TRIES = 10

_NONE: frozenset[int] = frozenset()


class Plan(NamedTuple):
    """What all replies to one query for one question have in common.

    Attributes:
        options: The facts that answer the query: one, several if it names an entity alone, or none.
        supports: Whether an option is what the query asked for.
        relation: The relation that it asks for, if any.
        golden: The facts whose sentences hold a golden answer of the question.
    """

    options: tuple[int, ...]
    supports: bool
    relation: str | None
    golden: frozenset[int]


class Hand(NamedTuple):
    """A reply with three places left open.

    Attributes:
        facts: A fact a place, to fall back to for the two fillers; -1 for main.
        documents: A document a place; a stand-in for main.
        main: Where main stands.
        about_main: Where a filler about main's entity stands; -1 if none does.
        about_other: Where the filler about E (noisy) or W (useful) stands; -1 if none does.
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
        self._siblings = [
            tuple(n for n in self._about[fact.entity.name] if n != number) for number, fact in enumerate(self._facts)
        ]
        self._documents = [
            tuple(Document(fact.sentence(phrasing)) for phrasing in range(NUM_PHRASINGS)) for fact in self._facts
        ]
        self._decks: dict[tuple[str, int], list[Hand | None]] = {}

    def plan(self, query: str, golden_answers: tuple[str, ...]) -> Plan:
        """Ground a query, and find what replies to it may hold."""
        grounding = self._grounder.ground(query)
        golden = self._holding(golden_answers)
        entity, relation = grounding.entity, grounding.relation
        known = self._about.get(entity.name, ()) if entity is not None and entity.split == self._world.split else ()
        options = tuple(n for n in known if relation is None or self._facts[n].relation == relation)
        if known and not options:  # a fact that the atlas lacks
            return Plan(known, False, None, golden)
        return Plan(options, bool(options) and not grounding.asks_other, relation, golden)

    def reply(self, plan: Plan, useful: bool, seed: int, topk: int) -> tuple[Document, ...]:
        """Write a reply of `topk` documents."""
        bits = mix(seed)
        more = bits * 48271 % PRIME
        options, _, relation, golden = plan
        asked, alike = -1, _NONE
        if options:
            asked = options[bits % len(options)] if len(options) > 1 else options[0]
            alike = self._alike[asked] if len(options) == 1 else self._alike[asked].union(options)
        if relation is None:
            relation = self._facts[asked].relation if options else RELATIONS[bits % len(RELATIONS)]
        pool = self._pools[relation]
        hand = self._pick_hand(relation, topk, bits >> 4, golden, alike)
        facts, documents, main, about_main, about_other = hand
        if useful and options:
            number, other = asked, pool[more % len(pool)]
        else:
            number = self._pick_main(pool, more, golden, alike, facts)
            other = asked if len(options) == 1 else pool[bits % len(pool)]
        written = list(documents)
        written[main] = self._documents[number][(bits >> 16) % NUM_PHRASINGS]
        last = -1
        for place, subject in ((about_main, number), (about_other, other)):
            if place >= 0:
                siblings = self._siblings[subject]
                if siblings:
                    more = more * 48271 % PRIME
                    filler = siblings[more % len(siblings)]
                    if filler not in golden and filler not in alike and filler not in facts and filler != last:
                        last = filler
                        written[place] = self._documents[filler][(more >> 8) % NUM_PHRASINGS]
        return tuple(written) if topk >= MIN_FACTS else _merge(written, topk, bits)

    def _pick_hand(self, relation: str, topk: int, bits: int, golden: frozenset[int], alike: frozenset[int]) -> Hand:
        """A hand without facts that may not stand in the reply."""
        deck = self._decks.get((relation, topk)) or self._new_deck(relation, topk)
        place = bits & (HANDS - 1)
        for _ in range(TRIES):
            hand = deck[place] or self._deal(relation, topk, place, deck)
            if golden.isdisjoint(hand.facts) and alike.isdisjoint(hand.facts):
                return hand
            place = (place + (bits >> 10 | 1)) & (HANDS - 1)
        return self._repair(hand, relation, golden | alike, bits)

    def _pick_main(
        self, pool: Sequence[int], bits: int, golden: frozenset[int], alike: frozenset[int], facts: tuple[int, ...]
    ) -> int:
        """A fact for the place of a noisy reply's main sentence."""
        for _ in range(TRIES):
            number = pool[bits % len(pool)]
            if number not in golden and number not in alike and self._alike[number].isdisjoint(facts):
                return number
            bits = bits * 48271 % PRIME
        return self._draw(Draws(bits), pool, golden | alike, facts)

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
        stand_in = draws.pick(pool)
        avoid = self._alike[stand_in]  # of answers with few values, leave some that main can have
        facts: list[int] = []
        for _ in range(num_distractors):
            facts.append(self._draw(draws, pool, avoid, facts))
        about_main = about_other = -1
        while len(facts) < num_facts - 1:
            turn = len(facts) - num_distractors
            if turn == 0 and draws.below(2):
                about_main = len(facts)
            elif turn == 1:
                about_other = len(facts)
            siblings = self._siblings[draws.pick(facts[:num_distractors])]
            facts.append(self._draw(draws, siblings or self._everything, avoid, facts))
        order = draws.shuffle(list(range(-1, num_facts - 1)))
        ordered = tuple(facts[i] if i >= 0 else -1 for i in order)
        hand = Hand(
            ordered,
            tuple(self._documents[n if n >= 0 else stand_in][draws.below(NUM_PHRASINGS)] for n in ordered),
            order.index(-1),
            order.index(about_main) if about_main >= 0 else -1,
            order.index(about_other) if about_other >= 0 else -1,
        )
        deck[place] = hand
        return hand

    def _repair(self, hand: Hand, relation: str, avoid: AbstractSet[int], bits: int) -> Hand:
        """Replace the facts of a hand that may not stand there."""
        draws = Draws(bits)
        facts, documents = list(hand.facts), list(hand.documents)
        for place, number in enumerate(hand.facts):
            if number in avoid:
                pool = self._pools[relation] if self._facts[number].relation == relation else self._everything
                facts[place] = self._draw(draws, pool, avoid, facts)
                documents[place] = self._documents[facts[place]][draws.below(NUM_PHRASINGS)]
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
