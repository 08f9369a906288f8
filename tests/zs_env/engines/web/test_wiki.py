"""A retrieval server answers, in either protocol; what it does wrong is the failure of its requests alone."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import gymnasium as gym
import pytest

import zs_env  # noqa: F401
from tests.zs_env.engines.fault_server import Do, FaultServer, as_json, closed_port
from tests.zs_env.engines.fault_server import Seen as Fault
from tests.zs_env.engines.web.service import Seen, Service, ask
from zs_env.checker import check_engine
from zs_env.engines import make_engine
from zs_env.engines.around import around
from zs_env.errors import ConfigError
from zs_env.types import SearchRequest, SearchResult


def search(engine: Any, *requests: SearchRequest) -> list[SearchResult]:
    return asyncio.run(engine.search(requests or [ask()]))


def texts(result: SearchResult) -> list[str]:
    return [document.text for document in result.documents]


def search_r1(seen: Seen) -> Any:
    """What Search-R1's server does, FastAPI's refusal included."""
    if seen.path != "/retrieve":
        return {"detail": "Not Found"}, 404
    if not isinstance(seen.body.get("queries"), list):
        return {"detail": [{"loc": ["body", "queries"], "msg": "Field required"}]}, 422
    items = [
        [
            {"document": {"id": str(i), "contents": f'"T"\n{query} {i}'}, "score": 1.0 / i}
            for i in range(1, seen.body["topk"] + 1)
        ]
        for query in seen.body["queries"]
    ]
    return {"result": items}


def zerosearch(seen: Seen) -> Any:
    """What ZeroSearch's server does: it refuses what it doesn't know."""
    if set(seen.body) != {"query", "top_k"}:
        return {"detail": "extra fields"}, 422
    return [{"text": f"{seen.body['query']} {i}"} for i in range(1, seen.body["top_k"] + 1)]


def wiki(server: Any, **options: Any) -> Any:
    return make_engine("wiki", base_url=getattr(server, "base_url", server), **{"backoff_s": 0.001, **options})


def test_search_r1s_server_is_asked_as_its_own_client_asks_it() -> None:
    with Service(search_r1) as server:
        [result] = search(wiki(server, protocol="search-r1"), ask("lima", topk=2))
    [seen] = server.seen
    assert (seen.method, seen.path) == ("POST", "/retrieve")
    assert seen.body == {"queries": ["lima"], "topk": 2, "return_scores": True}
    assert texts(result) == ["lima 1", "lima 2"]
    assert [document.title for document in result.documents] == ["T", "T"]
    assert [document.metadata for document in result.documents] == [
        {"id": "1", "score": 1.0},
        {"id": "2", "score": 0.5},
    ]
    assert (result.engine, result.error, result.cost) == ("wiki", None, 0.0)
    assert result.supports_query is None


def test_zerosearchs_server_is_asked_as_its_own_client_asks_it() -> None:
    with Service(zerosearch) as server:
        results = search(wiki(server, protocol="zerosearch"), ask("lima", topk=1), ask("quito", topk=2))
    assert sorted(str(seen.body) for seen in server.seen) == [
        "{'query': 'lima', 'top_k': 1}",
        "{'query': 'quito', 'top_k': 2}",
    ]
    assert list(map(texts, results)) == [["lima 1"], ["quito 1", "quito 2"]]


@pytest.mark.parametrize(("script", "probes"), [(search_r1, 1), (zerosearch, 3)])
def test_the_protocol_is_found_out_once(script: Any, probes: int) -> None:
    with Service(script) as server:
        engine = wiki(server)
        results = search(engine, *[ask(f"q{i}", topk=1) for i in range(8)]) + search(engine, ask("again", topk=1))
    assert [texts(result) for result in results] == [[f"q{i} 1"] for i in range(8)] + [["again 1"]]
    assert len(server.seen) == probes + (2 if script is search_r1 else 9)


def test_a_server_of_neither_protocol_is_named() -> None:
    with Service(lambda seen: {"hits": []}) as server:
        [result] = search(wiki(server, max_retries=0))
    assert result.error is not None
    assert "neither Search-R1's protocol nor ZeroSearch's" in result.error
    assert "something other than documents" in result.error


def test_another_server_behind_the_address_is_found_out_anew() -> None:
    """It refuses once what the other would have taken, or replies as the other wouldn't."""
    scripts: list[Any] = [search_r1]
    with Service(lambda seen: scripts[-1](seen)) as server:
        engine = wiki(server, max_retries=0)
        assert search(engine)[0].error is None
        for script in (zerosearch, search_r1):
            scripts.append(script)
            failed, found = search(engine)[0], search(engine)[0]
            assert failed.error is not None
            assert "protocol" in failed.error
            assert texts(found) == ["capital of France 1", "capital of France 2"]
        scripts.append(lambda seen: ["a list"])
        failed, found = search(engine)[0], search(engine)[0]
    assert failed.error is not None
    assert "does it speak search-r1's protocol" in failed.error
    assert texts(found) == ["a list"]


def test_requests_go_in_batches_of_equal_topk_and_come_back_in_order() -> None:
    asked = [ask(f"q{i}", topk=1 + i % 2) for i in range(10)]
    with Service(search_r1) as server:
        results = search(wiki(server, protocol="search-r1", batch_size=3), *asked)
    assert [texts(result) for result in results] == [[f"q{i} {n}" for n in range(1, 2 + i % 2)] for i in range(10)]
    assert sorted(len(seen.body["queries"]) for seen in server.seen) == [2, 2, 3, 3]
    assert all(len(set(seen.body["queries"])) == len(seen.body["queries"]) for seen in server.seen)


def test_a_batch_that_fails_takes_no_other_along() -> None:
    def script(seen: Seen) -> Any:
        return ({"error": "index broken"}, 500) if "bad" in seen.body["queries"] else search_r1(seen)

    asked = [ask(query, topk=1) for query in ("a", "b", "bad", "c", "d")]
    with Service(script) as server:
        results = search(wiki(server, protocol="search-r1", batch_size=2, max_retries=1), *asked)
    assert [result.error is None for result in results] == [True, True, False, False, True]
    assert results[2].error is not None
    assert "HTTP 500: index broken" in results[2].error
    assert results[2].documents == ()


def test_too_few_lists_are_an_error_and_no_documents_of_others() -> None:
    with Service(lambda seen: {"result": [["only one"]]}) as server:
        results = search(wiki(server, protocol="search-r1", max_retries=0), ask("a"), ask("b"))
    assert all(result.error and "1 lists of documents for 2 queries" in result.error for result in results)


FAULTS = {
    "hangs": (Do("hang"), "timeout_s", True),
    "closes": (Do("close"), "broke off", True),
    "garbage": (Do("garbage"), "broke off", True),
    "HTML": (
        Do(headers={"Content-Type": "text/html"}, body=b"<html>hi</html>"),
        "something other than documents",
        True,
    ),
    "an endless stream": (Do("endless"), "max_response_bytes", True),
    "503": (as_json({"error": "loading"}, 503), "too busy (HTTP 503: loading)", True),
    "404": (as_json({"detail": "Not Found"}, 404), "no such path (HTTP 404: Not Found)", False),
    "422": (as_json({"detail": "bad"}, 422), "refuses the request (HTTP 422: bad): check protocol", False),
    "a redirect": (Do(status=307, headers={"Location": "http://127.0.0.1:1/"}), "sends its callers elsewhere", False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_that_says_whether_to_try_again(fault: str) -> None:
    do, says, again = FAULTS[fault]

    def script(seen: Fault) -> Do:
        return do if seen.body["queries"] == ["broken"] else as_json({"result": [["fine"]]})

    limits: dict[str, Any] = {"timeout_s": 0.3 if "timeout_s" in says else 30.0, "max_response_bytes": 100_000}
    with FaultServer(script) as server:
        engine = wiki(f"http://127.0.0.1:{server.port}", protocol="search-r1", batch_size=1, max_retries=1, **limits)
        good, bad, also_good = search(engine, ask("fine"), ask("broken"), ask("fine"))
        tries = sum(seen.body["queries"] == ["broken"] for seen in server.chats)
    assert texts(good) == texts(also_good) == ["fine"]
    assert bad.error is not None
    assert says in bad.error
    assert "chat" not in bad.error
    assert (bad.metadata or {}).get("retry", True) is again
    assert tries == (2 if again else 1)


def test_another_server_stands_in() -> None:
    with Service(search_r1) as server:
        urls = [f"http://127.0.0.1:{closed_port()}", f"{server.base_url}/retrieve"]
        results = search(wiki(urls), *[ask(f"q{i}", topk=1) for i in range(4)])
    assert [texts(result) for result in results] == [[f"q{i} 1"] for i in range(4)]


def test_no_server_is_an_error_that_says_where_it_looked() -> None:
    port = closed_port()
    [result] = search(wiki(f"http://127.0.0.1:{port}", max_retries=0))
    assert result.error is not None
    assert f"Can't connect to http://127.0.0.1:{port}" in result.error


def test_the_engine_keeps_the_contract() -> None:
    with Service(search_r1) as server:
        check_engine(wiki(server))


def test_golden_answers_are_not_sent() -> None:
    with Service(search_r1) as server:
        search(wiki(server), ask("lima"))
    assert "Paris" not in str(server.seen)
    assert "France" not in str(server.seen)


def test_a_query_is_asked_once_whatever_is_drawn(tmp_path: Any) -> None:
    with Service(search_r1) as server:
        engine = around(wiki(server, protocol="search-r1"), cache=tmp_path / "cache.sqlite")
        first = search(engine, ask("lima", seed=1, quality="useful"))
        second = search(engine, ask("lima", seed=2, quality="noisy"))
    assert len(server.seen) == 1
    assert texts(first[0]) == texts(second[0])
    assert second[0].cached


def test_equal_corpora_are_known_by_name() -> None:
    one, other = wiki("http://127.0.0.1:1"), wiki("http://127.0.0.1:2")
    assert one.fingerprint != other.fingerprint
    assert len({wiki(f"http://127.0.0.1:{port}", corpus="wiki-18").fingerprint for port in (1, 2)}) == 1


def test_copies_are_the_engine_and_pickles_are_equal() -> None:
    engine = wiki("http://127.0.0.1:1", protocol="zerosearch")
    assert copy.deepcopy(engine) is engine
    assert pickle.loads(pickle.dumps(engine)).settings == engine.settings


def test_no_key_is_sent_that_was_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("RETRIEVER_KEY", "named-key")
    with Service(search_r1) as server:
        search(wiki(server, protocol="search-r1"))
        search(wiki(server, protocol="search-r1", api_key_env="RETRIEVER_KEY"))
    assert [seen.headers.get("authorization") for seen in server.seen] == [None, "Bearer named-key"]


def test_an_episode_searches_the_server() -> None:
    with Service(search_r1) as server:
        env = gym.make("ZeroSearch-v0", search_mode="wiki", base_url=server.base_url, topk=2)
        env.reset(seed=1)
        _, _, _, _, info = env.step("<search>lima</search>")
        env.close()
    assert [document.text for document in info["search"]["documents"]] == ["lima 1", "lima 2"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs base_url"),
        ({"base_url": "ftp://x"}, "must begin with http"),
        ({"base_url": "http://x", "protocol": "grpc"}, "protocol must be one of 'auto', 'search-r1', 'zerosearch'"),
        ({"base_url": "http://x", "batch_size": 0}, "batch_size"),
        ({"base_url": "http://x", "corpus": ""}, "corpus must be a text"),
        ({"base_url": "http://x", "top_k": 3}, "doesn't take 'top_k'"),
    ],
)
def test_wrong_options_are_named(options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_engine("wiki", **options)
