import asyncio
import dataclasses
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.engines.around.doubles import QUESTION, Waiting, bad, good, in_turn, request, texts
from zs_env.engines import ScriptedEngine
from zs_env.engines.around import CachedEngine
from zs_env.engines.around.keys import request_key
from zs_env.errors import ConfigError
from zs_env.types import Document, SearchRequest, SearchResult


def rich(asked: SearchRequest) -> SearchResult:
    documents = (Document("é \ud800", title="T", metadata={"score": 0.1 + 0.2}), Document(""))
    return good(asked.query, documents=documents, supports_query=True, cost=2.5, metadata={"usage": {"tokens": [1]}})


def test_a_search_is_answered_once_and_then_from_the_file_also_after_a_restart(tmp_path: Path) -> None:
    engine = ScriptedEngine(rich)
    first = CachedEngine(engine, tmp_path / "cache.sqlite")
    [result] = first.search_now([request()])
    assert (result.cached, result.cost) == (False, 2.5)
    first.close()
    times = iter([1.0, 1.25, 2.0, 2.5])
    again = CachedEngine(engine, tmp_path / "cache.sqlite", clock=lambda: next(times))
    [found] = again.search_now([request()])
    assert found == dataclasses.replace(result, cached=True, cost=0.0, latency_s=0.25)
    assert [found] == [dataclasses.replace(r, latency_s=0.25) for r in asyncio.run(again.search([request()]))]
    assert len(engine.requests) == 1


OTHER = dataclasses.replace(QUESTION, id="2")


@pytest.mark.parametrize(
    "change",
    [
        {"query": "other"},
        {"seed": 1},
        {"quality": "noisy"},
        {"topk": 4},
        {"question": OTHER},
        {"question": dataclasses.replace(QUESTION, golden_answers=("Paris", "paris"))},
        {"question": dataclasses.replace(QUESTION, question="Which city is the capital of France?")},
        {"question": dataclasses.replace(QUESTION, metadata={"split": "test"})},
    ],
)
def test_whatever_an_answer_depends_on_tells_searches_apart(change: dict[str, Any], tmp_path: Path) -> None:
    engine = ScriptedEngine("text")
    cached = CachedEngine(engine, tmp_path / "cache.sqlite")
    for asked in (request(), request(**change), request(**change), request(noise_probability=0.5)):
        cached.search_now([asked])
    assert len(engine.requests) == 2


def test_keys_are_the_same_in_every_process() -> None:
    assert request_key(request()) == "aff20dc402d660b97ad55d99e9337e78f0dd1d5abfa9fc6cc2e1f0873afc4fe8"
    odd = dataclasses.replace(QUESTION, metadata={1: object, "a": {2, 3}})
    assert len(request_key(request("\ud800", question=odd))) == 64


def test_engines_share_a_file_and_not_each_others_answers(tmp_path: Path) -> None:
    class Marked(ScriptedEngine):
        fingerprint = "v1"

    path, engines = tmp_path / "cache.sqlite", [ScriptedEngine("a", name="a"), ScriptedEngine("b"), Marked("c")]
    for engine in [*engines, *engines]:
        CachedEngine(engine, path).search_now([request()])
    assert [len(engine.requests) for engine in engines] == [1, 1, 1]
    engines[2].fingerprint = "v2"  # type: ignore[attr-defined]
    CachedEngine(engines[2], path).search_now([request()])
    assert len(engines[2].requests) == 2


def test_an_engine_without_draws_is_asked_once_a_query(tmp_path: Path) -> None:
    class Index(ScriptedEngine):
        uses_draw = False

    for engine, options in ((Index("text"), {}), (ScriptedEngine("text", name="s"), {"draw": False})):
        cached = CachedEngine(engine, tmp_path / "cache.sqlite", **options)  # type: ignore[arg-type]
        for asked in (request(seed=1), request(seed=2), request(question=OTHER), request("other"), request(topk=1)):
            cached.search_now([asked])
        assert [(asked.query, asked.topk) for asked in engine.requests] == [
            ("capital of France", 5),
            ("other", 5),
            ("capital of France", 1),
        ]


def test_failed_searches_are_never_kept(tmp_path: Path) -> None:
    engine = Waiting(in_turn(bad(), OSError("refused"), good("x")))
    cached = CachedEngine(engine, tmp_path / "cache.sqlite")
    found = [texts(asyncio.run(cached.search([request()])))[0] for _ in range(4)]
    assert found == ["down", "OSError: refused", "About x.", "About x."]
    assert len(engine.calls) == 3


def test_equal_requests_of_a_batch_are_asked_and_paid_once(tmp_path: Path) -> None:
    engine = ScriptedEngine(rich, fail=["c"])
    cached = CachedEngine(engine, tmp_path / "cache.sqlite")
    results = cached.search_now([request(query) for query in "abacc"])
    assert [asked.query for asked in engine.requests] == ["a", "b", "c"]
    assert [(result.cached, result.cost) for result in results[:3]] == [(False, 2.5), (False, 2.5), (True, 0.0)]
    assert [result.error for result in results[3:]] == ["scripted failure"] * 2


def test_the_oldest_answers_go_when_it_is_full(tmp_path: Path) -> None:
    engine = ScriptedEngine("x" * 1_000)
    cached = CachedEngine(engine, tmp_path / "cache.sqlite", max_bytes=5_000)
    for number in range(10):
        cached.search_now([request(str(number))])
    [[total]] = sqlite3.connect(tmp_path / "cache.sqlite").execute("SELECT sum(bytes) FROM answers").fetchall()
    assert 3_000 < total <= 5_000
    for number in (9, 0):
        cached.search_now([request(str(number))])
    assert [asked.query for asked in engine.requests[10:]] == ["0"]


def test_what_is_no_cache_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, " * 100)
    (tmp_path / "folder").mkdir()
    sqlite3.connect(tmp_path / "other").executescript("CREATE TABLE mine (a)")
    for name, why in (("text", "not a database"), ("folder", "unable to open"), ("other", "but no search cache")):
        with pytest.raises(ConfigError, match=f"{name}.*{why}"):
            CachedEngine(ScriptedEngine(), tmp_path / name)
    assert (tmp_path / "text").read_text() == "no database, " * 100


def test_trouble_in_the_middle_of_a_run_fails_no_search(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cached = CachedEngine(ScriptedEngine("text"), path)
    sqlite3.connect(path).executescript("DROP TABLE answers")
    with pytest.warns(RuntimeWarning, match="search cache can't be"):
        assert texts(cached.search_now([request()])) == ["text"]


def test_threads_share_a_cache(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda asked: asked.query)
    caches = [CachedEngine(engine, tmp_path / "cache.sqlite") for _ in range(2)]
    found: list[Any] = []

    def play(number: int) -> None:
        for n in range(25):
            found.append(texts(caches[number % 2].search_now([request(str(n))])) == [str(n)])

    threads = [threading.Thread(target=play, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 100
    assert len(engine.requests) < 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_processes_share_a_cache_also_one_that_was_forked_with_it(tmp_path: Path) -> None:
    cached = CachedEngine(ScriptedEngine("parent"), tmp_path / "cache.sqlite")
    children = []
    for child in range(3):
        process = os.fork()
        if process == 0:
            try:
                for n in range(20):
                    cached.search_now([request(f"{child} {n}")])
                os._exit(0)
            finally:
                os._exit(1)
        children.append(process)
    assert [os.waitpid(process, 0)[1] for process in children] == [0, 0, 0]
    results = cached.search_now([request(f"{child} {n}") for child in range(3) for n in range(20)])
    assert all(result.cached for result in results)
