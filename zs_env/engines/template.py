"""The built-in search engine: no model, no network, deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from zs_env.engines.atlas_replies import AtlasReplies, Plan
from zs_env.engines.grounding import Grounder
from zs_env.questions.atlas import load_atlas
from zs_env.types import SearchRequest, SearchResult

__all__ = ["TemplateEngine"]


class TemplateEngine:
    """Answers searches from templates."""

    name = "template"

    def __init__(self) -> None:
        self._worlds: dict[str, AtlasReplies] = {}
        self._grounder: Grounder | None = None
        self._plan = lru_cache(maxsize=65_536)(self._make_plan)

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request; never waits."""
        return self.search_now(requests)

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request at once."""
        results = []
        for request in requests:
            question = request.question
            split = question.metadata["split"]
            plan = self._plan(request.query, split, question.golden_answers)
            useful = request.quality == "useful"
            documents = self._worlds[split].reply(plan, useful, request.seed, request.topk)
            results.append(
                SearchResult(documents=documents, engine="template", supports_query=useful and plan.supports)
            )
        return results

    def _make_plan(self, query: str, split: str, golden_answers: tuple[str, ...]) -> Plan:
        if split not in self._worlds:
            self._grounder = self._grounder or Grounder(load_atlas())
            self._worlds[split] = AtlasReplies(load_atlas().world(split), self._grounder)
        return self._worlds[split].plan(query, golden_answers)

    def __copy__(self) -> TemplateEngine:
        return self

    def __deepcopy__(self, memo: object) -> TemplateEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
