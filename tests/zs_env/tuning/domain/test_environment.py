from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import zs_env  # noqa: F401
from tests.zs_env.engines.fault_server import FaultServer, documents
from tests.zs_env.tuning.domain.library import ARTICLES, write_rows
from zs_env.__main__ import main
from zs_env.command_options import search_option
from zs_env.engines.llm.prompts import load_prompts
from zs_env.errors import ConfigError
from zs_env.tuning.domain import environment_options, make
from zs_env.tuning.domain.command_simulator import _toml
from zs_env.tuning.domain.environment import EnvironmentSettings, write_environment
from zs_env.tuning.domain.questions import QuestionSettings, make_questions


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    folder = tmp_path / "domain"
    corpus = write_rows(tmp_path / "articles.jsonl", ARTICLES)
    make_questions(folder, QuestionSettings(rules=("encyclopedic",)), passages=corpus)
    return folder


def tune(domain: Path, *, accepted: bool | None = True, **more: Any) -> None:
    """Leave what training and a gate leave."""
    (domain / "model").mkdir()
    record = {
        "schema": "zerosearch.tuned_simulator/1",
        "persona": "Danish culture",
        "document_words": 25,
        "topk": 3,
        **more,
    }
    (domain / "model" / "simulator.json").write_text(json.dumps(record))
    if accepted is not None:
        (domain / "gate").mkdir()
        (domain / "gate" / "gate.json").write_text(json.dumps({"accepted": accepted}))


def test_the_real_side_plays_without_a_simulator(domain: Path) -> None:
    write_environment(domain, EnvironmentSettings(base_url="http://127.0.0.1:9/v1", persona="Danish culture"))
    env = gym.make("ZeroSearch-v0", **json.loads((domain / "environment_bm25.json").read_text()))
    _, info = env.reset(seed=1)
    *_, info = env.step(f"<search>{info['question']}</search>")
    assert info["search"]["contains_golden"] is True
    env.close()


def test_a_tuned_simulator_plays_as_it_learned(domain: Path) -> None:
    tune(domain)
    with FaultServer(documents("Ada Holm is a painter.", "Fog is a film.", "Nothing else.")) as server:
        options = write_environment(domain, EnvironmentSettings(base_url=server.base_url))
        assert options["search_mode"] == "simulate_sft"
        assert options["topk"] == 3
        assert options["search_options"] == {"persona": "Danish culture", "document_words": 25}
        env = gym.make("ZeroSearch-v0", **json.loads((domain / "environment.json").read_text()), check=False)
        env.reset(seed=1)
        text, *_ = env.step("<search>painters</search>")
        assert "Ada Holm is a painter." in text
        assert "You are the Danish culture search engine." in server.chats[0].prompt
        assert "about 25 words" in server.chats[0].prompt
        env.close()


def test_own_prompts_of_a_simulator_are_brought_along(domain: Path) -> None:
    prompts = {name: f"Own. {text}" for name, text in load_prompts("sft").items()}
    tune(domain, prompts=prompts)
    options = write_environment(domain, EnvironmentSettings(base_url="http://127.0.0.1:9/v1"))
    assert load_prompts("sft", options["search_options"]["prompts"]) == prompts


def test_a_moved_folder_is_found_again(domain: Path, tmp_path: Path) -> None:
    tune(domain)
    (domain / "simulator.gguf").write_bytes(b"GGUF" + bytes(20))
    write_environment(domain, EnvironmentSettings())
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.move(domain, moved)
    options = environment_options(moved)
    assert options["questions"] == str(moved / "questions.jsonl")
    assert options["simulation_llm"] == str(moved / "simulator.gguf")
    assert environment_options(moved, bm25=True)["search_options"] == {"corpus": str(moved / "corpus.jsonl")}
    env = make(moved, bm25=True, max_turns=2)
    _, info = env.reset(seed=0)
    assert info["question"]
    env.close()


@pytest.mark.parametrize(
    ("accepted", "settings", "message"),
    [
        (False, {}, "A gate refused"),
        (None, {}, "A gate hasn't judged"),
        (True, {}, r"There is no .*simulator\.gguf"),
    ],
)
def test_a_simulator_that_should_not_be_used_is_refused(
    accepted: bool | None, settings: dict[str, Any], message: str, domain: Path
) -> None:
    tune(domain, accepted=accepted)
    with pytest.raises(ConfigError, match=message):
        write_environment(domain, EnvironmentSettings(**settings))
    (domain / "simulator.gguf").write_bytes(b"GGUF" + bytes(20))
    assert write_environment(domain, EnvironmentSettings(ungated=True))["search_mode"] == "simulate_sft"


def test_what_is_missing_is_told(domain: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tune domain passages"):
        write_environment(tmp_path / "nothing", EnvironmentSettings())
    with pytest.raises(ConfigError, match="no tuned simulator"):
        write_environment(domain, EnvironmentSettings())
    with pytest.raises(ConfigError, match="give --persona"):
        write_environment(domain, EnvironmentSettings(simulation_llm="smollm2"))
    with pytest.raises(ConfigError, match="has no split 'valid'"):
        write_environment(domain, EnvironmentSettings(simulation_llm="smollm2", persona="x", split="valid"))
    with pytest.raises(ConfigError, match="tune domain environment"):
        environment_options(domain)


def test_the_command_shows_a_program_and_a_training(domain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--simulation-llm", "smollm2", "--persona", "Danish culture"]
    assert main(["tune", "domain", "environment", str(domain), *given]) == 0
    out = capsys.readouterr().out
    assert "--search-mode simulate_prompt --simulation-llm smollm2" in out
    [line] = [line for line in out.splitlines() if line.startswith("env = ")]
    spec = json.loads((domain / "environment.json").read_text())
    assert f'json.load(open("{(domain / "environment.json").as_posix()}"))' in line
    assert spec["search_options"] == {"persona": "Danish culture"}
    assert "--split train" in out
    assert "--eval-split dev" in out


def test_the_flags_of_a_training_say_what_the_options_say(domain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = {"sft_useful": 'Say "{query}"\nwell, {persona} é.', "sft_noisy": "Not {query}"}
    tune(domain, persona="2024", prompts=prompts)
    given = ["--base-url", "http://127.0.0.1:9/v1"]
    assert main(["tune", "domain", "environment", str(domain), *given]) == 0
    words = shlex.split(capsys.readouterr().out.rpartition("python -m ")[2])
    flags = [words[place + 1] for place, word in enumerate(words) if word == "--search-option"]
    spec = json.loads((domain / "environment.json").read_text())
    assert dict(map(search_option, flags)) == spec["search_options"]
    assert spec["search_options"]["persona"] == "2024"
    assert _toml(prompts).count("\n") == 0
    assert search_option(f"prompts={_toml(prompts)}") == ("prompts", prompts)
