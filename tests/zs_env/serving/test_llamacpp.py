"""A real server of llama.cpp with a real model, SmolLM2, on this machine, and episodes played with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zs_env.engines.llm.helpers import ask, engine_of, search
from tests.zs_env.serving.helpers import runs, until
from tests.zs_env.serving.playing import QUESTIONS, play_at_once, play_serially
from zs_env.serving import Server, WatchSettings, serve
from zs_env.serving.health import get


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    watch = WatchSettings(log_dir=tmp_path_factory.mktemp("logs"), backoff_s=0.05, start_timeout_s=120.0)
    with serve("llamacpp", "smollm2", port=0, parallel=2, context_tokens=2048, watch=watch) as server:
        yield server
        pid = server.pid
    assert not runs(pid)


def test_an_episode_is_played_to_its_end(server: Server) -> None:
    (played,) = play_serially(server.base_url, noise=(0.0,), topk=1, check=False)
    assert played["metadata"]["model"].startswith("SmolLM2")
    assert played["metadata"]["output_tokens"] > 0


def test_useful_and_noisy_searches_of_a_vector_are_answered_at_once(server: Server) -> None:
    searches = play_at_once(server.base_url, num_envs=2, topk=1, check=False)
    assert {played["quality"] for played in searches} == {"useful", "noisy"}


def test_a_client_goes_on_after_a_crash(server: Server) -> None:
    engine = engine_of(server.base_url, max_tokens=8, document_words=4, check=False, backoff_s=0.5, max_retries=20)
    first, restarts = server.pid, server.num_restarts
    os.kill(first, signal.SIGKILL)
    until(lambda: not runs(first), "it was dead")
    (result,) = search(engine, ask(topk=1))
    assert result.metadata["output_tokens"] > 0  # of eight tokens no sentence need be whole
    assert result.metadata["retries"] > 0
    assert server.num_restarts == restarts + 1
    assert server.pid != first


def test_its_key_is_asked_for_and_prompts_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM_KEY", "s3cret")
    settings = {"api_key_env": "SIM_KEY", "served_model_name": "sim", "parallel": 1, "context_tokens": 512}
    with serve("llamacpp", "smollm2", port=0, watch=WatchSettings(log_dir=tmp_path), **settings) as server:
        assert server.model == "sim"
        assert get(server.base_url + "/models", "wrong", 10)[0] in (200, 401)
        assert get(server.launch.address + "/slots", None, 10)[0] == 401
        assert get(server.launch.address + "/slots", "s3cret", 10)[0] == 501
        refused = search(engine_of(server.base_url, max_tokens=2, max_retries=0), ask(topk=1))[0]
        assert refused.error is not None
        keyed = engine_of(server.base_url, max_tokens=2, document_words=1, check=False, api_key_env="SIM_KEY")
        assert "401" not in str(search(keyed, ask(topk=1))[0].error)
        assert server.log is not None
        assert "s3cret" not in server.log.read_text()


@pytest.mark.slow
def test_checked_episodes_of_several_documents(server: Server) -> None:
    searches = play_serially(server.base_url, noise=(0.0, 1.0) * len(QUESTIONS), topk=3)
    assert all(played["metadata"]["quality_checked"] is not None for played in searches)
    held = [
        played["contains_golden"]
        for played in searches
        if played["quality"] == "noisy" and played["metadata"]["quality_checked"]
    ]
    assert not any(held)
    assert len(play_at_once(server.base_url, num_envs=4, topk=3)) == 4
