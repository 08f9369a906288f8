"""How the template engine answers questions of the atlas: from facts, grounded in the query.

A reply is made of sentences, each a fact of the question's own split. With E and R the entity and relation that the query
asks for:

- *main*: the fact (E, R) in a useful reply, (Z, R) with another answer in a noisy one;
- *distractors*, two or more: (X, R), (Y, R), …, none of whose answers is main's;
- *fillers*: facts of other relations, the first about main's entity or a distractor's, the second about E in a noisy
  reply and about some other W in a useful one.

No sentence but main holds the asked answer or a golden answer of the question, in any of its forms. Z and W are drawn as often
as the split's questions ask about them, and sentences stand in random order: so a reply's words alone don't tell whether it is
useful, only reading it against the query does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from operator import itemgetter

from zs_env.engines.grounding import Grounder
from zs_env.questions.atlas import World
from zs_env.questions.atlas_text import RELATIONS
from zs_env.rewards import normalize_answer
from zs_env.types import Document

__all__ = ["AtlasReplies", "Plan"]

_PRIME = 2_147_483_647  # MINSTD: x -> 48271 x mod (2^31 - 1), small integers all along
_TRIES = 24
_EMPTY: frozenset[int] = frozenset()
_ORDERS = {size: tuple(itemgetter(*order) for order in permutations(range(size))) for size in range(2, 6)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays the same between replies to one query for one question.

    Attributes:
        options: The facts that answer the query; one unless it names an entity alone.
        supports: Whether an option is what the query asked for.
        relation: The relation that it asks for, if any.
        golden: The facts whose sentences hold a golden answer.
    """

    options: tuple[int, ...]
    supports: bool
    relation: str | None
    golden: frozenset[int]


class AtlasReplies:
    """Writes replies from the facts of one split."""

    def __init__(self, world: World, grounder: Grounder) -> None:
        self._grounder = grounder
        self._world = world
        facts = list(world.facts.values())
        index = {(fact.entity.name, fact.relation): i for i, fact in enumerate(facts)}
        self._facts = facts
        self._documents = [tuple(Document(fact.sentence(k)) for k in range(3)) for fact in facts]
        self._about = {
            name: tuple(index[f.entity.name, f.relation] for f in world.facts_about(name)) for name in world.entities
        }
        self._siblings = [tuple(j for j in self._about[fact.entity.name] if j != i) for i, fact in enumerate(facts)]
        asked = Counter(index[f.entity.name, f.relation] for q in world.questions for f in world.facts_of(q))
        self._pools = {
            r: [i for i, f in enumerate(facts) if f.relation == r for _ in range(asked[i])] for r in RELATIONS
        }
        self._everything = [i for pool in self._pools.values() for i in pool]
        self._postings: dict[str, set[int]] = {}
        for i, fact in enumerate(facts):
            for word in normalize_answer(f"{fact.entity.name} {fact.answer}").split():
                self._postings.setdefault(word, set()).add(i)
        by_answer = {fact.answers: self._holding(fact.answers) for fact in facts}
        self._alike = [by_answer[fact.answers] for fact in facts]

    @lru_cache(maxsize=4_096)  # noqa: B019
    def _holding(self, answers: tuple[str, ...]) -> frozenset[int]:
        """The facts whose sentences hold all words of one of the answers."""
        found: set[int] = set()
        for answer in answers:
            words = normalize_answer(answer).split()
            if words:
                found |= set.intersection(*(self._postings.get(word, set()) for word in words))
        return frozenset(found)

    def plan(self, query: str, golden_answers: tuple[str, ...]) -> Plan:
        """Ground a query."""
        grounding = self._grounder.ground(query)
        golden = self._holding(golden_answers)
        entity, relation = grounding.entity, grounding.relation
        if entity is None or entity.split != self._world.split:
            return Plan((), False, relation, golden)
        options = tuple(i for i in self._about[entity.name] if relation in (None, self._facts[i].relation))
        if relation is not None and not options:  # a fact that the atlas lacks
            return Plan((), False, relation, golden)
        return Plan(options, not grounding.asks_other, relation, golden)

    def reply(self, plan: Plan, useful: bool, seed: int, topk: int) -> tuple[tuple[Document, ...], bool]:
        """Write a reply: its documents, and whether they hold what the query asked for."""
        x = ((seed ^ (seed >> 29)) * 0x9E3779B97F4A7C15 >> 24) % (_PRIME - 1) + 1
        x = x * 48271 % _PRIME
        golden = plan.golden
        options = plan.options
        if options:
            asked = options[0] if len(options) == 1 else options[x % len(options)]
            relation = self._facts[asked].relation
            alike = self._alike[asked]
        else:
            asked = -1
            relation = plan.relation or RELATIONS[x % len(RELATIONS)]
            alike = _EMPTY
        pool = self._pools[relation]
        size = len(pool)
        num_facts = topk if topk > 3 else 3
        if useful and asked >= 0:
            main = asked
            used = [main]
        else:
            for _ in range(_TRIES):
                x = x * 48271 % _PRIME
                main = pool[x % size]
                if main not in golden and main not in alike:
                    break
            else:
                main = self._scan(pool, x, golden, alike, ())
            used = [main]
            alike_main = self._alike[main]
        bad = self._alike[main]
        for _ in range(2 if num_facts < 6 else (num_facts - 1) // 2):
            for _ in range(_TRIES):
                x = x * 48271 % _PRIME
                fact = pool[x % size]
                if fact not in golden and fact not in alike and fact not in bad and fact not in used:
                    break
            else:
                fact = self._scan(pool, x, golden, alike | bad, used)
            used.append(fact)
        num_distractors = len(used) - 1
        turn = 0
        while len(used) < num_facts:
            x = x * 48271 % _PRIME
            if turn % 2 == 0:
                about = used[x % (1 + num_distractors) if turn else (0 if x & 1024 else 1)]
            elif useful or asked < 0 or len(options) > 1:
                about = pool[x % size]
            else:
                about = asked
            turn += 1
            siblings = self._siblings[about] or self._everything
            for _ in range(6):
                x = x * 48271 % _PRIME
                fact = siblings[x % len(siblings)]
                if fact not in golden and fact not in alike and fact not in used:
                    break
            else:
                fact = self._scan(self._everything, x, golden, alike, used)
            used.append(fact)
        x = x * 48271 % _PRIME
        y = x
        documents = []
        all_documents = self._documents
        for fact in used:
            documents.append(all_documents[fact][y % 3])
            y //= 3
            if not y:
                x = y = x * 48271 % _PRIME
        x = x * 48271 % _PRIME
        return self._arrange(documents, x, topk), useful and plan.supports and asked >= 0

    @staticmethod
    def _arrange(documents: list[Document], x: int, topk: int) -> tuple[Document, ...]:
        """Put documents in random order; merge them into `topk` where that is less than three."""
        size = len(documents)
        if size <= 5:
            orders = _ORDERS[size]
            ordered: tuple[Document, ...] = orders[x % len(orders)](documents)
        else:
            for i in range(size - 1, 0, -1):
                x = x * 48271 % _PRIME
                j = x % (i + 1)
                documents[i], documents[j] = documents[j], documents[i]
            ordered = tuple(documents)
        if topk >= 3:
            return ordered
        cut = 3 if topk == 1 else 1 + (x >> 8) % 2
        parts = (ordered[:cut], ordered[cut:])
        return tuple(Document(" ".join(document.text for document in part)) for part in parts if part)

    def _scan(self, pool: list[int], x: int, golden: frozenset[int], alike: frozenset[int], used: object) -> int:
        """The first allowed fact from a random place on; one used already if there is no other."""
        size = len(pool)
        again = -1
        for i in range(size):
            fact = pool[(x + i) % size]
            if fact not in golden and fact not in alike:
                if fact not in used:  # type: ignore[operator]
                    return fact
                again = fact
        if again >= 0:
            return again
        assert pool is not self._everything, "the atlas has no sentence that is free of the golden answers"
        return self._scan(self._everything, x, golden, alike, used)
