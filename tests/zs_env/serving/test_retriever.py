"""A retrieval server: both protocols as their own clients speak them, limits, and parity with the engine itself."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.engines.web.service import Running, ask
from zs_env.__main__ import main
from zs_env.checker import check_engine
from zs_env.engines import SEARCH_MODES, TemplateEngine, make_engine
from zs_env.errors import ConfigError, ServerError
from zs_env.serving.retriever import Retriever, RetrieverSettings
from zs_env.types import Document, SearchRequest, SearchResult

PASSAGES = (
    Document("Lima is the capital of Peru.", "Lima", {"id": "0"}),
    Document("Quito is the capital of Ecuador.\nIt lies high.", "Quito", {"id": "1"}),
    Document("The capital is where a government sits.", None, {"id": "2"}),
    Document("世界 🦊", 'A "quoted" title', {"id": "3"}),
)


class Words:
    """A real engine of four passages: the more words of the query they share, the better."""

    name = "words"
    uses_draw = False
    fingerprint = "w1"

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return [self._answer(request) for request in requests]

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return self.search_now(requests)

    def _answer(self, request: SearchRequest) -> SearchResult:
        if request.query == "broken":
            return SearchResult(documents=(), engine=self.name, error="no index")
        if request.query == "raises":
            raise RuntimeError("out of memory")
        words = set(request.query.casefold().split())
        scored = [
            (float(len(words & set(f"{passage.title} {passage.text}".casefold().split()))), -i)
            for i, passage in enumerate(PASSAGES)
        ]
        best = sorted(scored, reverse=True)[: request.topk]
        documents = [(PASSAGES[-i], score) for score, i in best]
        found = tuple(Document(one.text, one.title, {**(one.metadata or {}), "score": s}) for one, s in documents)
        return SearchResult(documents=found, engine=self.name)

    def __deepcopy__(self, memo: object) -> Words:
        return self


def running(engine: Any = None, **settings: Any) -> Running:
    return Running(Retriever(engine or Words(), RetrieverSettings(port=0, **settings)))


def post(retriever: Retriever, body: Any, path: str = "/retrieve") -> tuple[int, Any]:
    """Send JSON as the clients do, with nothing of ours in between."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(retriever.base_url + path, raw, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_search_r1s_client_gets_what_it_reads() -> None:
    """The request is that of its `_batch_search`, the reading that of its `_passages2string`."""
    with running() as retriever:
        queries = ["Quito capital", "capital of Peru"]
        status, reply = post(retriever, {"queries": queries, "topk": 2, "return_scores": True})
    assert status == 200
    shown = []
    for result in reply["result"]:
        for item in result:
            content = item["document"]["contents"]
            shown.append((content.split("\n")[0], "\n".join(content.split("\n")[1:]), item["score"]))
    assert shown[0] == ('"Quito"', "Quito is the capital of Ecuador.\nIt lies high.", 2.0)
    assert [title for title, _, _ in shown] == ['"Quito"', '"Lima"', '"Lima"', '"Quito"']


def test_scores_and_topk_may_be_left_out() -> None:
    with running(topk=3) as retriever:
        _, reply = post(retriever, {"queries": ["capital of Peru"]})
        _, null = post(retriever, {"queries": ["capital of Peru"], "topk": None})
    assert reply["result"][0][0]["contents"] == '"Lima"\nLima is the capital of Peru.'
    assert len(reply["result"][0]) == 3
    assert null == reply


def test_zerosearchs_client_gets_what_it_reads() -> None:
    with running() as retriever:
        status, reply = post(retriever, {"query": "capital of Peru", "top_k": 2})
    assert status == 200
    assert reply[0]["text"] == "Lima\nLima is the capital of Peru."
    assert len(reply) == 2


@pytest.mark.parametrize("protocol", ["search-r1", "zerosearch", "auto"])
def test_what_the_client_gets_is_what_the_engine_gives(protocol: str) -> None:
    queries = ["capital of Peru", "quoted 世界", "nothing", "the capital", "Ecuador", "🦊 мир \x00 </information>"]
    asked = [ask(query, topk=1 + i % 3) for i, query in enumerate(queries)]
    with running() as retriever:
        engine = make_engine("wiki", base_url=retriever.base_url, protocol=protocol)
        results = asyncio.run(engine.search(asked))
    assert [result.documents for result in results] == [result.documents for result in Words().search_now(asked)]


def test_a_served_engine_keeps_the_contract() -> None:
    with running() as retriever:
        check_engine(make_engine("wiki", base_url=retriever.base_url))


def test_a_query_without_words_finds_nothing_and_harms_no_other() -> None:
    with running() as retriever:
        status, reply = post(retriever, {"queries": ["", "capital of Peru", " \n"], "topk": 1})
    assert status == 200
    assert [len(found) for found in reply["result"]] == [0, 1, 0]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "no JSON"),
        (b"[" * 50_000, 400, "no JSON"),
        ([], 422, "Search-R1"),
        ({}, 422, "ZeroSearch"),
        ({"queries": "lima"}, 422, "list of texts"),
        ({"queries": [7]}, 422, "list of texts"),
        ({"query": None}, 422, "query a text"),
        ({"queries": ["a"], "topk": 101}, 422, "from 1 to 100; got 101"),
        ({"queries": ["a"], "topk": -1}, 422, "got -1"),
        ({"queries": ["a"], "topk": 0}, 422, "got 0"),
        ({"query": "a", "top_k": "3"}, 422, "got '3'"),
        ({"queries": ["a"] * 9}, 413, "9 queries are too many"),
        ({"queries": ["a" * 200_000]}, 413, "more than 100000 bytes"),
        ({"queries": ["fine", "broken"]}, 502, "'words' failed 1 of 2 queries: no index"),
        ({"queries": ["raises"]}, 500, "RuntimeError: out of memory"),
    ],
)
def test_what_cannot_be_answered_is_json_with_a_status(body: Any, status: int, says: str) -> None:
    with running(max_queries=8, max_request_bytes=100_000) as retriever:
        found, reply = post(retriever, body)
        assert post(retriever, {"query": "Peru"})[0] == 200
    assert found == status
    assert says in reply["error"]


def test_another_path_or_method_is_answered_in_json_too() -> None:
    with running() as retriever:
        for path, status in (("/search", 404), ("/health", 405)):
            found, reply = post(retriever, {"query": "Peru"}, path)
            assert found == status
            assert "POST /retrieve" in reply["error"]


def test_health_says_what_is_served() -> None:
    with running() as retriever:
        post(retriever, {"queries": ["a", "b"]})
        with urllib.request.urlopen(f"{retriever.base_url}/health", timeout=30) as reply:
            told = json.load(reply)
    assert told == {"status": "ok", "engine": "words", "fingerprint": "w1", "queries": 2}


def test_an_engine_that_computes_holds_up_nobody() -> None:
    """While one search computes, another goes on, and so does /health."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Words):
        def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
            if requests[0].query == "slow":
                inside.set()
                assert go_on.wait(30)
            return super().search_now(requests)

    with running(Slow(), num_threads=2) as retriever:
        replies: list[Any] = []
        thread = threading.Thread(target=lambda: replies.append(post(retriever, {"query": "slow"})))
        thread.start()
        assert inside.wait(30)
        assert post(retriever, {"query": "Peru"})[0] == 200
        with urllib.request.urlopen(f"{retriever.base_url}/health", timeout=30) as reply:
            assert reply.status == 200
        assert not replies
        go_on.set()
        thread.join(30)
    assert replies[0][0] == 200


def test_a_simulator_is_not_served() -> None:
    with pytest.raises(ConfigError, match=r"'template' can't be served.*query alone"):
        Retriever(TemplateEngine())


def test_a_taken_port_is_named() -> None:
    async def start(port: int) -> None:
        async with Retriever(Words(), RetrieverSettings(port=port)):
            pass

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"Can't listen on port {port} of 127.0.0.1"):
            asyncio.run(start(port))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"port": 70_000}, "65535"), ({"topk": 0}, "topk"), ({"topk": 9, "max_topk": 5}, "max_topk; got 9 and 5")],
)
def test_wrong_settings_are_named(settings: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RetrieverSettings(**settings)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ("--engine template", 2, "can't be served as a retriever"),
        ("--engine nosuch", 2, "Unknown search mode 'nosuch'"),
        ("--engine words --search-option speed=3", 2, "doesn't take 'speed'"),
        ("--engine words --port 70000", 2, "65535"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: str, status: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SEARCH_MODES, "words", Words)
    assert main(["serve", "retriever", *arguments.split()]) == status
    assert says in capsys.readouterr().err


def test_bm25_is_served_as_it_is(corpus: Path) -> None:
    engine = make_engine("bm25", corpus=str(corpus))
    asked = [ask("capital of Peru", topk=2), ask("Quito", topk=1), ask("xyzzy", topk=3)]
    direct = asyncio.run(engine.search(asked))
    assert [document.title for document in direct[0].documents][:1] == ["Lima"]
    with running(engine) as retriever:
        for protocol in ("search-r1", "zerosearch"):
            remote = make_engine("wiki", base_url=retriever.base_url, protocol=protocol)
            results = asyncio.run(remote.search(asked))
            assert [result.documents for result in results] == [result.documents for result in direct]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "passages.jsonl"
    rows = [{"id": str(i), "title": one.title or "", "text": one.text} for i, one in enumerate(PASSAGES)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_command_serves_until_it_is_told_to_end(end: signal.Signals, corpus: Path) -> None:
    given = ["-m", "zs_env", "serve", "retriever", "--engine", "bm25", "--corpus", str(corpus), "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, *given], **pipes) as serving:
        try:
            assert serving.stdout is not None
            told = json.loads(serving.stdout.readline())
            assert (told["event"], told["engine"]) == ("ready", "bm25")
            engine = make_engine("wiki", base_url=told["base_url"])
            [result] = asyncio.run(engine.search([ask("capital of Peru", topk=1)]))
            assert [document.title for document in result.documents] == ["Lima"]
            serving.send_signal(end)
            out, errors = serving.communicate(timeout=60)
        finally:
            serving.kill()
    assert serving.returncode == 0
    assert out == ""
    assert errors.splitlines()[-1] == "stopped"
    assert "Traceback" not in errors
