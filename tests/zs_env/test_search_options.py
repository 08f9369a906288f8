"""What `gym.make` hands on to the search engine, and puts around it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

from tests.zs_env.engines.fault_server import FaultServer, documents
from zs_env import SimulatedSearchEnv, SimulatedSearchVectorEnv
from zs_env.engines import SimulatedEngine, TemplateEngine
from zs_env.engines.around import CachedEngine, LimitedEngine, ReplayEngine, RetryingEngine
from zs_env.errors import ConfigError

SERVER = {"search_mode": "simulate_prompt", "simulation_llm": "m", "base_url": "http://127.0.0.1:1"}
OPTIONS = {"persona": "Wikipedia", "document_words": 12, "temperature": 0.1, "max_tries": 2, "timeout_s": 3.0}
PARIS = {"question": "What is the capital of France?", "golden_answers": ["Paris"]}


def core(made: Any) -> SimulatedSearchEnv:
    env = made.unwrapped
    assert isinstance(env, SimulatedSearchEnv)
    return env


def test_every_setting_of_a_simulator_is_reached_and_survives_json() -> None:
    env = gym.make("ZeroSearch-v0", **SERVER, search_options=OPTIONS, search_around={"tries": 3, "max_in_flight": 8})
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert json.loads(env.spec.to_json())["kwargs"]["search_options"] == OPTIONS
    for made in (env, again):
        outer = core(made).engine
        assert isinstance(outer, RetryingEngine)
        assert isinstance(outer.engine, LimitedEngine)
        engine = outer.engine.engine
        assert isinstance(engine, SimulatedEngine)
        assert (engine.settings.persona, engine.settings.document_words, engine.settings.max_tries) == (
            "Wikipedia",
            12,
            2,
        )
        assert engine.client_settings.timeout_s == 3.0  # type: ignore[attr-defined]


def test_the_settings_reach_the_server_and_a_cache_answers_the_second_time(tmp_path: Path) -> None:
    with FaultServer(documents("Paris is the capital.", "France is large.")) as server:
        given = {**SERVER, "base_url": server.base_url, "topk": 2, "questions": [PARIS]}
        around = {"cache": str(tmp_path / "c.sqlite")}
        for cached in (False, True):
            env = gym.make("ZeroSearch-v0", **given, search_options={"persona": "Medicine"}, search_around=around)
            env.reset(seed=0)
            _, _, _, _, info = env.step("<search>France</search>")
            assert info["search"]["error"] is None
            assert info["search"]["cached"] is cached
        assert len(server.chats) == 1
        assert "Medicine" in json.dumps(server.chats[0].body)


def test_a_vector_takes_them_too() -> None:
    made = gym.make_vec("ZeroSearch-v0", num_envs=2, **SERVER, search_options=OPTIONS, search_around={"tries": 2})
    env = made.unwrapped
    assert isinstance(env, SimulatedSearchVectorEnv)
    assert isinstance(env.engine, RetryingEngine)


def test_what_is_around_an_engine_object_is_shared_by_copies(tmp_path: Path) -> None:
    engine = TemplateEngine()
    env = SimulatedSearchEnv(engine=engine, search_around={"cache": str(tmp_path / "c.sqlite")})
    assert isinstance(env.engine, CachedEngine)
    assert env.engine.engine is engine
    assert copy.deepcopy(env).engine is env.engine
    assert SimulatedSearchEnv(engine=engine).engine is engine


def test_a_recording_is_replayed_without_its_engine(tmp_path: Path) -> None:
    file = str(tmp_path / "r.jsonl")
    env = SimulatedSearchEnv(split="test", search_around={"record": file})
    first = env.reset(seed=3), env.step("<search>capital of France</search>")
    # No server is asked, nor is one needed.
    again = SimulatedSearchEnv(split="test", search_mode="simulate_prompt", search_around={"replay": file})
    assert isinstance(again.engine, ReplayEngine)
    replayed = again.reset(seed=3), again.step("<search>capital of France</search>")
    assert replayed[1][0] == first[1][0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"search_options": {"speed": 1}}, "'template' doesn't take 'speed'"),
        ({**SERVER, "search_options": {"speed": 1}}, "doesn't take 'speed'"),
        ({**SERVER, "search_options": {"base_url": "http://127.0.0.1:2"}}, "base_url is given twice"),
        ({**SERVER, "check": True, "search_options": {"check": True}}, "check is given twice"),
        ({"search_options": ["persona"]}, "search_options must be a mapping"),
        ({"search_options": {1: 2}}, "search_options must be a mapping"),
        ({"search_around": {"retries": 2}}, "search_around doesn't take 'retries'. It takes 'cache'"),
        ({"search_around": {"engine": 2}}, "search_around doesn't take 'engine'"),
        ({"search_around": {"tries": 0}}, "tries"),
        ({"search_around": {"budget": {"calls": 1}}}, "A budget is a mapping"),
        ({"engine": TemplateEngine(), "search_options": {"persona": "x"}}, "engine= brings its own search"),
        ({"engine": object(), "search_around": {"tries": 2}}, "must have an async search"),
    ],
)
def test_wrong_options_are_errors_that_name_them(given: dict[str, Any], message: str) -> None:
    for make in (SimulatedSearchEnv, SimulatedSearchVectorEnv):
        with pytest.raises(ConfigError, match=message.replace("'. ", r"'\. ")):
            make(**given)


def test_simulated_search_is_imported_by_those_who_simulate() -> None:
    code = (
        "import sys, zs_env; from zs_env.engines import SEARCH_MODES; assert 'simulate_sft' in SEARCH_MODES;"
        "assert not [name for name in sys.modules if name.startswith('zs_env.engines.llm')];"
        "from zs_env.engines import *; SimulatedEngine; import zs_env.engines.llm"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
