"""Whatever a server does, the caller sees a result with an error in bounded time, and others are unharmed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, as_json, closed_port, documents, say
from tests.zs_env.engines.llm.helpers import ask, engine_of, search, texts
from zs_env.bridge import search_blocking
from zs_env.engines import SimulatedEngine
from zs_env.engines.llm import ClientSettings
from zs_env.engines.llm.endpoints import as_base_urls, redact, retry_after_s
from zs_env.errors import ConfigError

USEFUL = documents("Paris is the capital of France.", "France is in Europe.")
KEY = "abc-very-secret/key+1"
ROOT = Path(__file__).parents[4]

FAULTS = {
    "hangs": (Do("hang"), "timeout_s"),
    "closes": (Do("close"), "broke off"),
    "closes mid-reply": (Do("cut", body=b'{"choices": ['), "broke off"),
    "garbage": (Do("garbage"), "broke off"),
    "429": (as_json({"error": {"message": f"slow down, {KEY}"}}, 429), "too busy (HTTP 429: slow down, [key])"),
    "500": (Do(status=500, body=KEY.encode()), "fails (HTTP 500: [key]): see the server's log"),
    "503": (Do(status=503), "too busy (HTTP 503)"),
    "invalid JSON": (Do(body=b"{"), "something other than a chat completion"),
    "deep JSON": (Do(body=b"[" * 100_000), "something other than a chat completion"),
    "HTML": (Do(headers={"Content-Type": "text/html"}, body=b"<html>hi</html>"), "(text/html: <html>hi</html>)"),
    "an error of status 200": (as_json({"error": "out of memory"}), "out of memory"),
    "an endless stream": (Do("endless"), "max_response_bytes"),
    "100 MB": (Do("huge"), "max_response_bytes"),
    "a slow trickle": (Do("trickle"), "timeout_s"),
    "empty choices": (as_json({"choices": []}), "without choices"),
    "no choices": (as_json({}), "without choices"),
    "odd choices": (as_json({"choices": [{"message": "hi"}]}), "without choices"),
    "401": (as_json({"error": {"message": f"Incorrect API key: {KEY}"}}, 401), "refuses the key"),
    "404": (as_json({"message": "no model m"}, 404), "no such model or path (HTTP 404: no model m)"),
    "400": (as_json({"detail": "bad"}, 400), "refuses the request (HTTP 400: bad)"),
    "a redirect": (Do(status=307, headers={"Location": f"http://127.0.0.1:1/{KEY}"}), "sends its callers elsewhere"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_in_the_result_and_other_searches_are_unharmed(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defect 17 of the field: retried for ever in silence. Defect 23: keys in what is logged."""
    monkeypatch.setenv("SIMULATOR_KEY", KEY)
    do, says = FAULTS[fault]

    def script(seen: Seen) -> Do:
        assert seen.headers["authorization"] == f"Bearer {KEY}"
        return do if "Query: broken" in seen.prompt else USEFUL

    limits: dict[str, Any] = {"timeout_s": 0.3 if "timeout_s" in says else 30.0, "max_response_bytes": 100_000}
    with FaultServer(script) as server:
        engine = engine_of(server, api_key_env="SIMULATOR_KEY", max_retries=1, **limits)
        good, failed, also_good = search(engine, ask("fine"), ask("broken"), ask("fine"))
        num_tries = sum("Query: broken" in chat.prompt for chat in server.chats)
    assert texts(good) == texts(also_good) == ["Paris is the capital of France.", "France is in Europe."]
    assert failed.documents == ()
    assert failed.error is not None
    assert says in failed.error
    assert len(failed.error) < 500
    assert KEY not in repr(failed)
    assert KEY not in repr((engine.settings, engine.client_settings))
    assert num_tries == (1 if fault in ("401", "404", "400", "a redirect") else 2)


def test_a_server_that_refuses_connections_is_named() -> None:
    [result] = search(engine_of(f"http://127.0.0.1:{closed_port()}/v1", max_retries=2))
    assert "Can't connect to http://127.0.0.1:" in str(result.error)
    assert "is the server running there?" in str(result.error)
    assert "(3 tries)" in str(result.error)


@pytest.mark.parametrize("fault", [Do(status=500), Do("close"), say(""), Do(status=429, headers={"Retry-After": "0"})])
def test_a_fault_that_passes_is_not_seen(fault: Do) -> None:
    with FaultServer(lambda seen: fault if seen.number < 2 else USEFUL) as server:
        [result] = search(engine_of(server))
        assert len(server.chats) == 3
    assert result.error is None
    assert len(result.documents) == 2


def test_retry_after_is_honoured_up_to_the_deadline() -> None:
    with FaultServer(Do(status=429, headers={"Retry-After": "3600"})) as server:
        [result] = search(engine_of(server, deadline_s=60))
        assert len(server.chats) == 1
    assert "The next try would be in 3600 s, past deadline_s=60" in str(result.error)


def test_the_deadline_bounds_tries_and_waiting_for_a_place() -> None:
    with FaultServer(Do("hang")) as server:
        options = {"deadline_s": 0.3, "timeout_s": 100, "max_connections": 1}
        results = search(engine_of(server, **options), ask(), ask())
    assert all("deadline_s=0.3" in str(result.error) for result in results)


def test_all_replies_that_a_search_asks_for_share_one_deadline() -> None:
    silent = documents("Rome is a city.", "Milan is another.")  # no golden answer, so that it asks again

    def script(seen: Seen) -> Do:
        return silent if seen.number < 2 else Do("hang")

    with FaultServer(script) as server:
        [result] = search(engine_of(server, deadline_s=0.5, timeout_s=100, max_tries=4))
        assert len(server.chats) == 3
    assert "deadline_s=0.5" in str(result.error)
    assert result.latency_s < 5.0  # a deadline for each reply would have no end here but the test's


def test_a_connection_that_a_new_server_doesnt_know_is_no_failed_try() -> None:
    """A server that was started anew hangs up on the connections that were kept from before."""

    def script(seen: Seen) -> Do:
        return Do("close") if seen.number == 3 else USEFUL

    with FaultServer(script) as server:
        engine = engine_of(server, max_retries=0)

        async def main() -> list[str | None]:
            warm = await engine.search([ask(), ask()])
            again = await engine.search([ask(), ask()])  # on the two connections that are kept
            await engine.aclose()
            return [result.error for result in [*warm, *again]]

        assert asyncio.run(main()) == [None] * 4
        assert len(server.chats) == 5
        assert server.connections == 3
    with FaultServer(lambda seen: USEFUL if seen.number == 0 else Do("close")) as server:
        engine = engine_of(server, max_retries=1)

        async def hopeless() -> str:
            await engine.search([ask()])
            [result] = await engine.search([ask()])
            return str(result.error)

        assert "(2 tries)" in asyncio.run(hopeless())
        assert len(server.chats) == 1 + 1 + 2  # the kept connection's isn't counted, and is made up for once


def test_engines_of_equal_settings_share_one_session() -> None:
    with FaultServer(USEFUL, hold_until=4) as server:
        engines = [engine_of(server, max_connections=4) for _ in range(64)]
        other = engine_of(server, max_connections=4, timeout_s=99.0)

        async def main() -> list[str | None]:
            found = await asyncio.gather(*(engine.search([ask()]) for engine in engines))
            assert server.connections == server.most_together == 4
            for engine in engines[1:]:
                await engine.aclose()
            found += await asyncio.gather(*(engine.search([ask()]) for engine in engines[:1] * 4))
            assert server.connections == 4  # the first one still had them
            found.append(await other.search([ask()]))
            assert server.connections == 5
            await engines[0].aclose()
            found.append(await engines[0].search([ask()]))
            assert server.connections == 6
            return [result.error for results in found for result in results]

        assert asyncio.run(main()) == [None] * 70


def test_environments_made_one_by_one_share_one_session_from_any_thread() -> None:
    with FaultServer(USEFUL) as server:
        options = {"simulation_llm": "m", "base_url": server.base_url, "search_mode": "simulate_prompt"}
        envs = [gym.make("ZeroSearch-v0", disable_env_checker=True, **options) for _ in range(24)]
        for i, env in enumerate(envs):
            env.reset(seed=i)
        with ThreadPoolExecutor(4) as threads:
            steps = list(threads.map(lambda env: env.step("<search>capital of France</search>"), envs))
        assert [step[4]["search"]["error"] for step in steps] == [None] * 24
        assert server.connections <= 4  # as many as threads search at the same time
        for env in envs:
            env.close()


def test_several_servers_share_the_work_and_stand_in_for_each_other() -> None:
    with FaultServer(USEFUL) as one, FaultServer(USEFUL) as two:
        addresses = f"{one.base_url},{two.base_url}"
        assert all(not result.error for result in search(engine_of(addresses), *[ask() for _ in range(10)]))
        assert len(one.chats) == len(two.chats) == 5
    with FaultServer(USEFUL) as alive, FaultServer(as_json({}, 404)) as wrong:
        addresses = f"http://127.0.0.1:{closed_port()},{wrong.base_url},{alive.base_url}"
        engine = engine_of(addresses, max_retries=2, backoff_s=1000.0)  # it never waits while there is another server
        for _ in range(3):
            assert all(not result.error for result in search(engine, *[ask() for _ in range(10)]))


def test_the_model_is_discovered_once_where_exactly_one_is_served() -> None:
    with FaultServer(USEFUL) as server:
        engine = engine_of(server, simulation_llm=None)
        assert all(not result.error for result in search(engine, *[ask() for _ in range(50)]))
        assert server.model_requests == 1
        assert {chat.body["model"] for chat in server.chats} == {"served"}
    with FaultServer(USEFUL, models=("a", "b")) as server:
        [result] = search(engine_of(server, simulation_llm=None))
        assert "serves 2 models (a, b), so that one must be named: give simulation_llm" in str(result.error)
    with FaultServer(USEFUL, models=Do(status=500)) as server:
        results = search(engine_of(server, simulation_llm=None, max_retries=1), *[ask() for _ in range(20)])
        assert all("HTTP 500" in str(result.error) for result in results)
        assert server.model_requests < 10
        assert server.chats == []


def test_no_key_is_sent_where_none_is_set_or_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FaultServer(USEFUL) as server:
        search(engine_of(server, api_key_env=None))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        search(engine_of(server, api_key_env=""))
        search(engine_of(server, api_key_env=None))
        assert [chat.headers.get("authorization") for chat in server.chats] == [None, None, f"Bearer {KEY}"]
        monkeypatch.setenv("OPENAI_API_KEY", "secret\nsecret")
        [result] = search(engine_of(server, api_key_env=None))
    assert "secret" not in str(result.error)
    assert result.error is not None


def test_the_usual_key_goes_to_no_other_machine_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    urls = ["https://example.org", "http://127.0.0.1:1", "http://localhost", "http://10.0.0.7", "http://gpu-7:6001"]
    for name, sent in ((None, [KEY, KEY, KEY, None, None]), ("OPENAI_API_KEY", [KEY] * 5), ("", [None] * 5)):
        settings = ClientSettings(base_url=urls, api_key_env=name)
        assert [settings.key_for(url) for url in settings.urls] == sent
    advice = ClientSettings(base_url=urls).key_advice("http://gpu-7:6001/v1")
    assert "Give api_key_env='OPENAI_API_KEY' to send it there" in advice
    assert KEY not in advice


@pytest.mark.parametrize(
    ("option", "value"), [("max_retries", -1), ("max_connections", 1.5), ("max_response_bytes", 8)]
)
def test_settings_that_must_be_whole_are_checked(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be a whole number of at least"):
        ClientSettings(base_url="http://x", **{option: value})


def test_odd_but_usable_replies_are_used() -> None:
    parts = [{"type": "text", "text": "Doc 1: Paris"}, {"type": "text", "text": " is it \ud800."}]
    odd = {"choices": [{"message": {"content": parts}}], "usage": {"prompt_tokens": "many", "completion_tokens": -3}}
    with FaultServer(as_json(odd)) as server:
        [result] = search(engine_of(server), ask(topk=1))
    assert texts(result) == ["Paris is it �."]
    assert result.cost == 0.0


# Loops, threads, forks, endings


def test_it_serves_several_loops_and_threads_and_closes() -> None:
    with FaultServer(USEFUL) as server:
        engine = engine_of(server)
        failures: list[Any] = []

        def work() -> None:
            failures.extend(result for result in search(engine, *[ask() for _ in range(5)]) if result.error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failures += [result for result in search_blocking(engine, [ask()]) if result.error]
        engine.close()
        failures += [result for result in search_blocking(engine, [ask()]) if result.error]  # it opens again
        engine.close()
        assert failures == []

        async def close_inside() -> None:
            await engine.search([ask()])
            await engine.aclose()
            await engine.aclose()

        asyncio.run(close_inside())


def test_a_search_that_is_cancelled_leaves_the_engine_usable() -> None:
    with FaultServer(lambda seen: Do("hang") if seen.number == 0 else USEFUL) as server:
        engine = engine_of(server, simulation_llm=None)

        async def main() -> str | None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(engine.search([ask()]), 0.2)
            [result] = await engine.search([ask()])
            return result.error

        assert asyncio.run(main()) is None


CLEAN = """
import asyncio, os, sys, warnings
warnings.simplefilter("always")
from tests.zs_env.engines.fault_server import FaultServer, documents
from tests.zs_env.engines.llm.helpers import ask, engine_of, search
from zs_env.bridge import search_blocking
server = FaultServer(documents("Paris.", "Rome.")).__enter__()
engine = engine_of(server, simulation_llm=None)
results = search_blocking(engine, [ask()]) + search(engine)
other = engine_of(server)
results += search_blocking(other, [ask()])
del other
child = os.fork()
if child == 0:
    results = search_blocking(engine, [ask()]) + search(engine)
    sys.exit(3 if any(result.error for result in results) else 0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
results += search_blocking(engine, [ask()])  # on the connection that it had: the child left it alone
assert server.connections == 5, server.connections
server.__exit__()
print([result.error for result in results])
"""


def test_it_survives_a_fork_and_ends_without_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", CLEAN], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "[None, None, None, None]\n"
    complaints = [line for line in done.stderr.splitlines() if "fork" not in line]
    assert complaints == []
    assert done.returncode == 0


def test_a_loop_that_ends_without_closing_leaves_no_session_open(caplog: pytest.LogCaptureFixture) -> None:
    with FaultServer(USEFUL) as server:
        engine: SimulatedEngine | None = engine_of(server)
        assert engine is not None
        loop = asyncio.new_event_loop()
        loop.run_until_complete(engine.search([ask()]))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        engine = None
        gc.collect()
    assert caplog.records == []


# Addresses and what may be shown


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        ("http://127.0.0.1:6001", ("http://127.0.0.1:6001/v1",)),
        ("http://127.0.0.1:6001/", ("http://127.0.0.1:6001/v1",)),
        ("http://127.0.0.1:6001/v1", ("http://127.0.0.1:6001/v1",)),
        ("http://[::1]:6001/v1/chat/completions", ("http://[::1]:6001/v1",)),
        (["http://a", "http://b/proxy/", "http://a/v1"], ("http://a/v1", "http://b/proxy/v1")),
    ],
)
def test_addresses_with_and_without_the_version_are_the_same(given: Any, urls: tuple[str, ...]) -> None:
    assert as_base_urls(given) == urls
    assert ClientSettings(base_url=given).urls == urls


@pytest.mark.parametrize(
    "url", ["", ",", [], None, 3, "127.0.0.1:6001", "ftp://x", "http://", "http://a b", "http://x:y"]
)
def test_what_is_no_address_is_refused(url: Any) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        as_base_urls(url)


@pytest.mark.parametrize(
    "url", [f"http://user:{KEY.replace('/', '')}@host", "http://host/v1?key=abc-very", "http://host/#abc-very"]
)
def test_an_address_with_a_secret_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="environment variable") as caught:
        as_base_urls(url)
    assert "abc-very" not in str(caught.value)


def test_what_is_shown_holds_no_secret_and_is_short() -> None:
    shown = redact(f"{KEY} Bearer xyz sk-12345 http://u:p@host {'x' * 1000}", KEY)
    assert shown.startswith("[key] [key] [key] http://[key]host xxx")
    assert len(shown) <= 200
    assert redact("a%2Fb", "a/b") == "[key]"


@pytest.mark.parametrize("header", [None, "", "soon", "-1", "nan", "inf", "Mon, 99 Foo 2026"])
def test_a_retry_after_that_says_nothing_is_none(header: str | None) -> None:
    assert retry_after_s(header) is None
