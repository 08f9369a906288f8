import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from zs_env.checker import ENGINE_RULES, check_engine, example_requests
from zs_env.engines import ScriptedEngine, make_engine
from zs_env.errors import EngineContractError
from zs_env.types import Document, SearchRequest, SearchResult


class Honest:
    """An engine that keeps every rule; the broken ones below each change one thing."""

    name = "honest"

    def answer(self, request: SearchRequest) -> SearchResult:
        documents = tuple(Document(f"{request.query[:50]} {request.seed} {i}") for i in range(request.topk))
        return SearchResult(documents=documents, engine=self.name)

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        await asyncio.sleep(0)
        return [self.answer(request) for request in requests]


class Nameless(Honest):
    name = ""


class Synchronous(Honest):
    def search(self, requests):
        return [self.answer(request) for request in requests]


class ReturnsTuple(Honest):
    async def search(self, requests):
        return tuple(await super().search(requests))


class AnswersNobody(Honest):
    async def search(self, requests):
        return await super().search(requests) or [SearchResult(documents=(), engine=self.name)]


class DropsEmptyOnes(Honest):
    async def search(self, requests):
        return [result for result in await super().search(requests) if len(result.documents) > 1]


class ReturnsTexts(Honest):
    def answer(self, request):
        return request.query


class AlwaysFive(Honest):
    def answer(self, request):
        return super().answer(replace(request, topk=5))


class ListsDocuments(Honest):
    def answer(self, request):
        return SearchResult(documents=[Document("a")], engine=self.name)


class WritesTexts(Honest):
    def answer(self, request):
        return SearchResult(documents=("a",), engine=self.name)


class LoneSurrogates(Honest):
    def answer(self, request):
        return SearchResult(documents=(Document("a\ud800"),), engine=self.name)


class OddTitle(Honest):
    def answer(self, request):
        return SearchResult(documents=(Document("a", title=3),), engine=self.name)


class OddMetadata(Honest):
    def answer(self, request):
        return SearchResult(documents=(Document("a", metadata={"score": object()}),), engine=self.name)


class NegativeLatency(Honest):
    def answer(self, request):
        return replace(super().answer(request), latency_s=-1.0)


class FreeAsText(Honest):
    def answer(self, request):
        return replace(super().answer(request), cost="0")


class OddSupport(Honest):
    def answer(self, request):
        return replace(super().answer(request), supports_query="yes")


class FailsWithDocuments(Honest):
    def answer(self, request):
        return replace(super().answer(request), error="half of the shards are down")


class FailsWithoutReason(Honest):
    def answer(self, request):
        return SearchResult(documents=(), engine=self.name, error="")


class Raises(Honest):
    def answer(self, request):
        raise ValueError("boom")


class RaisesTimeout(Honest):
    def answer(self, request):
        raise TimeoutError("read timed out")


class AlwaysFails(Honest):
    def answer(self, request):
        return SearchResult(documents=(), engine=self.name, error="no server")


class TakesForever(Honest):
    async def search(self, requests):
        await asyncio.sleep(60)


class MarksQuestions(Honest):
    def answer(self, request):
        request.question.metadata["seen"] = True
        return super().answer(request)


class Counts(Honest):
    count = 0

    def answer(self, request):
        self.count += 1
        return SearchResult(documents=(Document(f"search {self.count}"),), engine=self.name)


class SortsRequests(Honest):
    async def search(self, requests):
        return await super().search(sorted(requests, key=lambda request: request.seed))


class NumbersItsBatch(Honest):
    async def search(self, requests):
        documents = tuple(Document(f"one of {len(requests)}") for _ in range(1))
        return [SearchResult(documents=documents, engine=self.name) for _ in requests]


class OtherNow(Honest):
    def search_now(self, requests):
        return [SearchResult(documents=(), engine=self.name) for _ in requests]


class RaisesNow(Honest):
    def search_now(self, requests):
        raise ValueError("boom")


class SharesItsInbox(Honest):
    """The bug of a client that keeps the requests of the current call on itself."""

    async def search(self, requests):
        self.inbox = list(requests)
        await asyncio.sleep(0.001)
        results = [self.answer(request) for request in self.inbox]
        return (results * 2)[: len(requests)]


class KeepsItsLoop(Honest):
    """The bug of a client that is bound to the event loop that it met first."""

    loop = None

    async def search(self, requests):
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        return await super().search(requests)


class AsciiOnly(Honest):
    def answer(self, request):
        request.query.encode("ascii")
        return super().answer(request)


class ShortOnly(Honest):
    def answer(self, request):
        if len(request.query) > 10_000:
            raise ValueError("413 Request Entity Too Large")
        return super().answer(request)


BROKEN = [
    (Nameless, "name"),
    (Synchronous, "search"),
    (ReturnsTuple, "search"),
    (AnswersNobody, "empty"),
    (DropsEmptyOnes, "count"),
    (ReturnsTexts, "count"),
    (AlwaysFive, "topk"),
    (ListsDocuments, "documents"),
    (WritesTexts, "documents"),
    (LoneSurrogates, "documents"),
    (OddTitle, "documents"),
    (OddMetadata, "documents"),
    (NegativeLatency, "fields"),
    (FreeAsText, "fields"),
    (OddSupport, "fields"),
    (FailsWithDocuments, "failures"),
    (FailsWithoutReason, "failures"),
    (Raises, "failures"),
    (RaisesTimeout, "failures"),
    (RaisesNow, "failures"),
    (AlwaysFails, "answers"),
    (TakesForever, "time"),
    (MarksQuestions, "mutation"),
    (Counts, "determinism"),
    (SortsRequests, "order"),
    (NumbersItsBatch, "mates"),
    (OtherNow, "search_now"),
    (SharesItsInbox, "concurrency"),
    (KeepsItsLoop, "loops"),
    (AsciiOnly, "queries"),
    (ShortOnly, "queries"),
]


@pytest.mark.parametrize(("engine", "rule"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_engine_is_told_its_rule(engine, rule):
    with pytest.raises(EngineContractError, match=rf"^{rule}: "):
        check_engine(engine(), requests=_shuffled(example_requests()), timeout_s=0.3)


def _shuffled(requests):
    """Not in the order of their seeds, so that sorting them shows."""
    return [replace(request, seed=(i * 5) % len(requests)) for i, request in enumerate(requests)]


def test_every_rule_has_an_engine_that_breaks_it():
    assert {rule for _, rule in BROKEN} == set(ENGINE_RULES)


@pytest.mark.parametrize(
    "engine",
    [
        Honest(),
        make_engine("template"),
        ScriptedEngine({"moon": ["a", "b", "c"]}),
        ScriptedEngine("one", delay_s=0.001),
    ],
    ids=lambda engine: engine.name,
)
def test_sound_engines_pass(engine):
    check_engine(engine)


def test_engines_that_are_not_deterministic_or_fail_can_be_checked_for_the_rest():
    check_engine(Counts(), deterministic=False)
    check_engine(AlwaysFails(), allow_errors=True)
    with pytest.raises(EngineContractError, match=r"^topk: "):
        check_engine(AlwaysFive(), deterministic=False)


def test_it_works_inside_a_running_event_loop():
    async def main():
        check_engine(Honest())

    asyncio.run(main())
