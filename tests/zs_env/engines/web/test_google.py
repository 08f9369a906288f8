"""SerpAPI on a local server: what is sent, what comes of it, what it costs, and where the key doesn't show."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.zs_env.engines.fault_server import closed_port
from tests.zs_env.engines.web.service import Seen, Service, ask
from zs_env.checker import check_engine
from zs_env.engines import make_engine
from zs_env.engines.around import around
from zs_env.errors import ConfigError
from zs_env.types import SearchRequest, SearchResult

KEY = "ab1/very+secret&key="


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPAPI_API_KEY", KEY)


def found(seen: Seen, **more: Any) -> dict[str, Any]:
    query = seen.query["q"]
    rows = [
        {"position": i, "title": f"{query} {i}", "link": f"https://example.org/{i}", "snippet": f"About {query}, {i}."}
        for i in range(1, 11)
    ]
    return {
        "search_metadata": {"id": "1", "status": "Success", "google_url": "https://www.google.com/search?q=x"},
        "search_parameters": {"engine": "google", "q": query},
        "organic_results": rows,
        **more,
    }


def google(server: Service, **options: Any) -> Any:
    return make_engine("google", base_url=server.base_url, **{"backoff_s": 0.001, **options})


def search(engine: Any, *requests: SearchRequest) -> list[SearchResult]:
    return asyncio.run(engine.search(requests or [ask()]))


def test_a_search_is_one_request_with_its_parameters() -> None:
    with Service(found) as server:
        engine = google(
            server, gl="us", hl="en", location="Austin, Texas", price_per_search=0.01, params={"safe": True}
        )
        [result] = search(engine, ask("peru & más?", topk=2))
    [seen] = server.seen
    assert (seen.method, seen.path) == ("GET", "/search.json")
    assert seen.query == {
        "engine": "google",
        "q": "peru & más?",
        "gl": "us",
        "hl": "en",
        "location": "Austin, Texas",
        "safe": "true",
        "api_key": KEY,
    }
    assert "authorization" not in seen.headers
    assert [document.text for document in result.documents] == ["About peru & más?, 1.", "About peru & más?, 2."]
    assert (result.error, result.cost, result.engine) == (None, 0.01, "google")


def test_more_results_are_asked_for_if_topk_needs_them() -> None:
    with Service(found) as server:
        search(google(server), ask(topk=10), ask(topk=11))
        search(google(server, num=7))
    assert sorted(seen.query.get("num", "") for seen in server.seen) == ["", "11", "7"]


def test_other_engines_have_their_own_name_for_the_query() -> None:
    with Service(lambda seen: {"organic_results": []}) as server:
        search(google(server, engine="yahoo"), ask("lima"))
    assert (server.seen[0].query["engine"], server.seen[0].query["p"]) == ("yahoo", "lima")


def test_a_budget_is_enforced_before_a_request_is_sent() -> None:
    with Service(found) as server:
        engine = around(google(server, price_per_search=0.01), budget={"requests": 3})
        first = search(engine, *[ask(f"q{i}") for i in range(5)])
        second = search(engine, ask("more"))
    assert len(server.seen) == 3
    assert [result.error is None for result in first + second] == [True, True, True, False, False, False]
    assert "budget" in str(second[0].error)


def test_a_budget_of_money_is_kept() -> None:
    with Service(found) as server:
        engine = around(google(server, price_per_search=0.01), budget={"cost": 0.03})
        results = [search(engine, ask(f"q{i}"))[0] for i in range(5)]
    assert len(server.seen) == 3
    assert sum(result.cost for result in results) == pytest.approx(0.03)


def test_a_budget_of_money_holds_for_searches_that_come_at_once() -> None:
    with Service(found) as server:
        side = {"search_mode": "google", "base_url": server.base_url, "price_per_search": 0.5, "around": {"tries": 2}}
        paid = around(google(server, price_per_search=0.5), timeout_s=30, budget={"cost": 1.0})
        mixed = make_engine("hybrid", real=side, real_probability=1.0, real_budget={"cost": 1.0})
        results = search(paid, *(ask(f"q{i}") for i in range(20)))
        assert [result.error is None for result in results] == [True] * 2 + [False] * 18
        routes = [(result.metadata or {})["route"] for result in search(mixed, *(ask(f"q{i}") for i in range(20)))]
    assert routes == ["real"] * 2 + ["simulated"] * 18
    assert len(server.seen) == 4


def test_tries_are_within_the_budget() -> None:
    with Service(lambda seen: ({"error": "Server Error"}, 500)) as server:
        [result] = search(around(google(server), budget={"requests": 2}, tries=2))
    assert result.error is not None
    assert len(server.seen) == 2


def test_a_query_is_paid_for_once(tmp_path: Any) -> None:
    with Service(found) as server:
        engine = around(google(server), cache=tmp_path / "cache.sqlite")
        search(engine, ask("lima", seed=1))
        [again] = search(engine, ask("lima", seed=2, quality="noisy"))
    assert len(server.seen) == 1
    assert again.cached


FAILURES = {
    "invalid key": (
        ({"error": f"Invalid API key. Your API key should be here: {KEY}"}, 401),
        "no more searches",
        False,
    ),
    "no key": (({"error": "No valid API key provided."}, 401), "no more searches", False),
    "a plain 401": (("no", 401), "refuses the key", False),
    "a deleted account": (({"error": "The account of this key has been deleted."}, 403), "no more", False),
    "out of searches": (({"error": "Your account has run out of searches."}, 429), "run out of searches", False),
    "out of searches, 200": ({"error": "Your account has run out of searches."}, "run out of searches", False),
    "the hourly limit": (({"error": "You are exceeding 200 searches per hour."}, 429), "too busy", True),
    "a bad request": (({"error": "Unsupported `xx` gl parameter."}, 400), "refuses the request (HTTP 400", False),
    "an error of Google's": (
        ({"search_metadata": {"status": "Error"}, "error": "We couldn't get valid results for this search."}, 503),
        "couldn't get valid results",
        True,
    ),
    "the same with 200": (
        {"search_metadata": {"status": "Error"}, "error": "We couldn't get valid results for this search."},
        "couldn't get valid results",
        True,
    ),
    "still at it": ({"search_metadata": {"status": "Processing"}}, "status is Processing", True),
    "a list": ([], "something other than a search", True),
    "a redirect": (web.Response(status=302, headers={"Location": f"/x?api_key={quote(KEY)}"}), "elsewhere", False),
    "an echo": (({"error": f"bad request: ?api_key={quote(KEY, safe='')}&q=x"}, 400), "?api_key=", False),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_says_what_to_do_and_not_the_key(
    failure: str, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    reply, says, again = FAILURES[failure]
    caplog.set_level(logging.DEBUG)

    def script(seen: Seen) -> Any:
        return found(seen) if seen.query["q"] == "fine" else reply

    with Service(script) as server:
        engine = around(google(server), record=tmp_path / "record.jsonl", cache=tmp_path / "cache.sqlite")
        bad, good = search(engine, ask("broken"), ask("fine"))
        [alone] = search(google(server), ask("broken"))
    assert good.error is None
    assert bad.documents == alone.documents == ()
    assert bad.cost == 0.0
    assert bad.error is not None
    assert says in bad.error
    assert (bad.metadata or {}).get("retry", True) is again
    assert len(server.seen) == 3
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir()).decode(errors="replace")
    for form in (KEY, quote(KEY), quote(KEY, safe=""), json.dumps(KEY)[1:-1], "very"):
        assert form not in f"{bad!r} {alone!r} {caplog.text} {kept}"
        assert form not in repr(engine)


def test_a_server_that_is_not_there_is_named_without_the_key() -> None:
    [result] = search(make_engine("google", base_url=f"http://127.0.0.1:{closed_port()}/search.json"))
    assert result.error is not None
    assert "Can't connect" in result.error
    assert "api_key" not in repr(result)
    assert "very" not in repr(result)


def test_a_reply_that_repeats_the_key_does_not_carry_it_into_documents() -> None:
    row = {"title": KEY, "snippet": "s", "link": f"https://example.org/?k={quote(KEY, safe='')}"}
    with Service(lambda seen: {"organic_results": [row]}) as server:
        [result] = search(google(server))
    assert "very" not in repr(result)
    assert result.documents[0].title == "[key]"


def test_nothing_found_is_no_error_and_no_document() -> None:
    nothing = {"search_metadata": {"status": "Success"}, "error": "Google hasn't returned any results for this query."}
    with Service(lambda seen: nothing) as server:
        [result] = search(google(server, price_per_search=0.01))
    assert (result.documents, result.error, result.cost) == ((), None, 0.01)


def test_golden_answers_are_not_sent_and_the_draw_changes_nothing() -> None:
    with Service(found) as server:
        search(google(server), ask("lima", seed=1), ask("lima", seed=2, quality="noisy"))
    assert server.seen[0].query == server.seen[1].query
    assert "Paris" not in str(server.seen)


def test_the_engine_keeps_the_contract() -> None:
    with Service(found) as server:
        check_engine(google(server))


def test_a_page_that_is_too_long_is_not_read() -> None:
    with Service(lambda seen: {"organic_results": ["x" * 5_000]}) as server:
        [result] = search(google(server, max_response_bytes=1024))
    assert result.error is not None
    assert "max_response_bytes=1024" in result.error


def test_copies_are_the_engine_and_pickles_hold_no_key() -> None:
    engine = make_engine("google")
    assert copy.deepcopy(engine) is engine
    pickled = pickle.dumps(engine)
    assert b"very" not in pickled
    assert pickle.loads(pickled).settings == engine.settings
    assert KEY not in repr(engine.settings)
    assert make_engine("google", gl="de").fingerprint != engine.fingerprint


def test_zerosearchs_name_of_the_key_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERPAPI_API_KEY")
    with pytest.raises(ConfigError, match="SERPAPI_API_KEY or SER_API_KEY"):
        make_engine("google")
    monkeypatch.setenv("SER_API_KEY", "other")
    with Service(found) as server:
        search(google(server))
    assert server.seen[0].query["api_key"] == "other"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": "http://example.org"}, "must have https"),
        ({"api_key": KEY}, "doesn't take 'api_key'.*environment"),
        ({"api_key_env": "UNSET_NAME"}, "'UNSET_NAME', which isn't set"),
        ({"params": {"api_key": "x"}}, "params can't hold 'api_key'"),
        ({"params": 7}, "params must be a mapping"),
        ({"params": {"a": []}}, "params must be a mapping"),
        ({"num": 0}, "num"),
        ({"gl": ""}, "gl must be a text"),
        ({"answer_box": "yes"}, "answer_box must be True or False"),
        ({"price_per_search": -1}, "price_per_search"),
    ],
)
def test_wrong_options_are_named_without_the_key(options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        make_engine("google", **options)
    assert "very" not in str(caught.value)
