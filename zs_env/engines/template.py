"""The built-in search engine: no model, no network, deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from zs_env.engines.atlas_replies import AtlasReplies, Plan
from zs_env.engines.grounding import MAX_QUERY_CHARS, Grounder
from zs_env.engines.plain_replies import PlainReplies
from zs_env.questions.atlas import SPLITS, load_atlas
from zs_env.types import Question, SearchRequest, SearchResult

__all__ = ["TemplateEngine"]

_MAX_PLANS = 32_768


class TemplateEngine:
    """Answers searches from templates; see `atlas_replies` and `plain_replies` for what replies hold.

    A reply is a function of the request's query, question, quality, seed and topk alone, and has exactly `topk`
    documents. Useful and noisy replies look alike: they have the same make-up, sentences and lengths, so that only
    reading them tells which is which.

    - Questions of the atlas (their metadata says so) are answered with facts of their own split, grounded in the
      query. `supports_query` is true exactly when the fact that the query asks for is in the documents. A query that
      names an entity and no relation asks for any fact about it; one that asks for a relation that the entity hasn't,
      as "currency of Lyon", gets a fact about it that doesn't count as support.
    - Any other question is answered from itself and its golden answers. `supports_query` is true when the reply is
      useful and the query shares a content word with the question.

    An engine may be shared by any number of environments and threads; copies are the engine itself.
    """

    name = "template"

    def __init__(self) -> None:
        self._plain = PlainReplies()
        self._plan = lru_cache(maxsize=_MAX_PLANS)(self._make_plan)
        # In front of that cache: what the same question object was answered by, found without looking into it.
        self._recent: dict[tuple[str, str], tuple[Question, AtlasReplies, Plan]] = {}

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request; it never waits."""
        return self.search_now(requests)

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request at once."""
        results = []
        recent = self._recent
        for request in requests:
            question = request.question
            useful = request.quality == "useful"
            known = recent.get((request.query, question.id))
            if known is None or known[0] is not question:
                split = _atlas_split(question)
                if split is None:
                    results.append(self._reply_plainly(request, useful))
                    continue
                known = self._remember(request.query, question, split)
            _, world, plan = known
            documents = world.reply(plan, useful, request.seed, request.topk)
            results.append(
                SearchResult(documents=documents, engine="template", supports_query=useful and plan.supports)
            )
        return results

    def _remember(self, query: str, question: Question, split: str) -> tuple[Question, AtlasReplies, Plan]:
        plan = self._plan(query[:MAX_QUERY_CHARS], split, question.golden_answers)
        known = question, _replies(split), plan
        if len(query) <= MAX_QUERY_CHARS:
            if len(self._recent) >= _MAX_PLANS:
                self._recent.clear()
            self._recent[query, question.id] = known
        return known

    @staticmethod
    def _make_plan(query: str, split: str, golden_answers: tuple[str, ...]) -> Plan:
        return _replies(split).plan(query, golden_answers)

    def _reply_plainly(self, request: SearchRequest, useful: bool) -> SearchResult:
        question = request.question
        documents, supports = self._plain.reply(request.query, question, useful, request.seed, request.topk)
        return SearchResult(documents=documents, engine=self.name, supports_query=supports)

    def __copy__(self) -> TemplateEngine:
        return self

    def __deepcopy__(self, memo: object) -> TemplateEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


@lru_cache(maxsize=1)
def _grounder() -> Grounder:
    return Grounder(load_atlas())


@lru_cache(maxsize=len(SPLITS))
def _replies(split: str) -> AtlasReplies:
    """A split's replies, one set of tables for every engine of the process."""
    return AtlasReplies(load_atlas().world(split), _grounder())


def _atlas_split(question: Question) -> str | None:
    """The atlas split that a question belongs to; None if it isn't the atlas's."""
    metadata = question.metadata
    split = metadata.get("split") if metadata.get("data_source") == "atlas" else None
    return split if isinstance(split, str) and split in SPLITS else None
