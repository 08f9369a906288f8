"""What the command line puts around the search engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import agents.config_sections
from agents.cli import _settings_for_playing, main, parser
from agents.config import TrainConfig, load_config
from agents.config_sections import SEARCH_AROUND, SearchConfig
from agents.flags import PLAYING_FLAGS, sections_of
from agents.resume import resume_command, resumed_sections
from agents.runs import CHECKPOINT_SCHEMA, RunFolder
from tests.agents.resuming import assert_equal_runs, lines_of
from zs_env.engines import TemplateEngine
from zs_env.engines.around import CachedEngine, LimitedEngine, RecordingEngine, ReplayEngine, RetryingEngine
from zs_env.errors import ConfigError

FEW = """
[run]
threads = 1
checkpoint_every = 1
[training]
total_steps = 2
questions_per_step = 2
group_size = 4
[evaluation]
limit = 1
noise = [0.5]
"""


def config_of(*flags: object) -> TrainConfig:
    return load_config(sections_of(parser().parse_args(["train", "--model", "m", *map(str, flags)])))


def train(runs: Path, name: str, *flags: object) -> int:
    settings = runs / "few.toml"
    runs.mkdir(exist_ok=True)
    settings.write_text(FEW)
    given = ["--preset", "quickstart", "--config", settings, "--runs", runs, "--run-name", name, *flags]
    return main(["train", *map(str, given)])


def test_flags_reach_what_is_put_around_the_engine(tmp_path: Path) -> None:
    files = [word for key in ("cache", "record") for word in (f"--{key}", tmp_path / key)]
    limits: list[object] = ["--tries", 3, "--deadline-s", 90, "--timeout-s", 5, "--max-in-flight", 4]
    budget: list[object] = ["--budget-requests", 9, "--budget-tokens", 8, "--budget-cost", 1.5]
    config = config_of(*files, *limits, *budget, "--budget-file", tmp_path / "budget")
    engine: Any = config.search.make_engine()
    found = []
    while hasattr(engine, "engine"):
        found.append(type(engine))
        engine = engine.engine
    assert found[:4] == [RecordingEngine, CachedEngine, RetryingEngine, LimitedEngine]
    assert isinstance(engine, TemplateEngine)
    assert config.search.budget_tokens == 8
    assert isinstance(config_of().search.make_engine(), TemplateEngine)
    assert set(SEARCH_AROUND) <= set(PLAYING_FLAGS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"record": "a", "replay": "b"}, "record .* or replay"),
        ({"tries": 0}, "tries"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"deadline_s": -1.0}, "deadline_s"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"budget_requests": -1}, "requests"),
        ({"budget_file": "b"}, "there is none"),
    ],
)
def test_wrong_settings_are_told_before_anything_begins(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig(**values)


def test_a_recorded_run_is_replayed_bit_by_bit_without_its_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, runs = tmp_path / "elsewhere" / "searches.jsonl", tmp_path / "runs"
    assert train(runs, "recorded", "--record", record) == 0
    assert len(lines_of(record)) > 10
    settings = json.loads((runs / "recorded" / "config.json").read_text())["search"]
    assert settings["record"] == "searches.jsonl"  # no path of this machine
    played = json.loads((runs / "recorded" / "checkpoint" / "zerosearch.json").read_text())["search"]
    assert not set(SEARCH_AROUND) & set(played)  # who plays the policy writes into no record

    def offline(*_: Any, **__: Any) -> Any:
        raise AssertionError("A replay made the engine.")

    monkeypatch.setattr(agents.config_sections, "make_engine", offline)
    assert isinstance(SearchConfig(replay=str(record)).make_engine(), ReplayEngine)
    assert train(runs, "replayed", "--replay", record, "--search-option", f"prompts={tmp_path}") == 0
    assert json.loads((runs / "replayed" / "start.json").read_text())["search_paths"] == ["prompts"]
    assert_equal_runs(runs / "recorded", runs / "replayed")
    raw = [(runs / name / "trajectories.jsonl").read_bytes() for name in ("recorded", "replayed")]
    assert raw[0] == raw[1]

    run = RunFolder("recorded", root=runs, resume=True)
    with pytest.raises(ConfigError, match=r"record 'searches.jsonl', which isn't here.*--record"):
        resumed_sections(run, {})
    assert resumed_sections(run, {"search": {"record": str(record)}})["search"]["record"] == str(record)


def test_a_replay_of_another_run_stops_and_says_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    record = tmp_path / "searches.jsonl"
    shown = [
        "ask",
        "What is the capital of Kenya?",
        "--script",
        "<search>Kenya</search>",
        "--script",
        "<answer>x</answer>",
    ]
    assert main([*shown, "--record", str(record)]) == 0
    assert main([*shown, "--replay", str(record)]) == 0
    assert train(tmp_path / "runs", "other", "--replay", record) == 2
    assert "The record 'searches.jsonl' doesn't hold this search: query" in capsys.readouterr().err


def test_a_budget_that_is_used_up_stops_the_run_with_the_way_on(tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path, "poor", "--budget-requests", 8) == 2
    told = capsys.readouterr().err
    assert "The budget for searches is used up" in told
    assert "In training step 0" in told
    assert "--resume --run-name poor" in told


def test_every_option_of_an_engine_is_reached_from_files_and_flags_and_recorded_without_paths(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[search]\nmode = "simulate_prompt"\n[search.options]\npersona = "Medicine"\nmax_tries = 2\n')
    prompts = tmp_path / "own_prompts"
    prompts.mkdir()
    (prompts / "prompt_useful.txt").write_text("About {query}")
    flags: list[object] = ["--config", file, "--base-url", "http://127.0.0.1:1", "--no-check", "--breaker", 5]
    flags += ["--search-option", "max_tries=3", "--search-option", f"prompts={prompts}"]
    config = config_of(*flags)
    assert config.search.options == {"persona": "Medicine", "max_tries": 3, "prompts": str(prompts)}
    breaker: Any = config.search.make_engine()
    assert breaker.engine.settings.persona == "Medicine"
    assert breaker.engine.settings.max_tries == 3
    assert breaker.engine.settings.checked is False
    recorded = config.record()["search"]
    assert recorded["options"] == {"persona": "Medicine", "max_tries": 3, "prompts": "own_prompts"}
    assert recorded["check"] is False
    assert config_of("--simulation-llm", tmp_path / "m.gguf").record()["search"]["simulation_llm"] == "m.gguf"
    # Another engine's options give way to another engine.
    assert config_of("--config", file, "--search-mode", "template").search.options == {}


def test_a_run_that_goes_on_asks_again_for_what_lies_elsewhere_and_keeps_the_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prompts, index, model = tmp_path / "a" / "prompts", tmp_path / "a" / "index", tmp_path / "a" / "own.gguf"
    prompts.mkdir(parents=True)
    index.touch()
    options = {"prompts": str(prompts), "persona": "Google", "index": str(index), "system": "a/b " * 2_000}
    config = load_config(
        {
            "model": {"source": "m"},
            "search": {"mode": "simulate_prompt", "simulation_llm": str(model), "options": options},
        }
    )
    assert config.search.paths == {"prompts": str(prompts), "index": str(index), "simulation_llm": str(model)}
    record = config.record()
    assert str(tmp_path) not in json.dumps(record)
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(record))
    (folder / "start.json").write_text(json.dumps({"search_paths": sorted(config.search.paths)}))
    run = RunFolder("r", root=tmp_path / "runs", resume=True)
    given: dict[str, Any] = {"search": {}}
    for key, flag, path in [
        ("index", "--search-option index=PATH", index),
        ("prompts", "--search-option prompts=PATH", prompts),
        ("simulation_llm", "--simulation-llm", model),
    ]:
        with pytest.raises(ConfigError, match=f"searched with {key} '{path.name}', which isn't here.*Give {flag} "):
            resumed_sections(run, given)
        if key == "simulation_llm":
            given["search"][key] = str(path)
        else:
            given["search"].setdefault("options", {})[key] = str(path)
    resumed = load_config(resumed_sections(run, given))
    assert resumed.search.options == options
    assert resumed.record() == record
    command = resume_command(run, resumed, model=False)
    assert f"--search-option prompts={prompts}" in command
    model.touch()
    assert f"--simulation-llm {model}" in resume_command(run, resumed, model=False)
    # What is answered from a record needs neither.
    assert resumed_sections(run, {"search": {"replay": "r.jsonl"}})["search"]["options"]["persona"] == "Google"


def test_who_plays_a_checkpoint_adds_options_to_its_own_or_takes_another_engine(tmp_path: Path) -> None:
    folder = tmp_path / "played"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    search = {"mode": "simulate_prompt", "base_url": "http://127.0.0.1:1", "options": {"persona": "Medicine"}}
    (folder / "zerosearch.json").write_text(json.dumps({"schema": CHECKPOINT_SCHEMA, "model": {}, "search": search}))

    def played_by(*flags: str) -> SearchConfig:
        return _settings_for_playing(parser().parse_args(["ask", "q", "--model", str(folder), *flags])).search

    assert played_by().options == {"persona": "Medicine"}
    assert played_by("--search-option", "max_tries=2").options == {"persona": "Medicine", "max_tries": 2}
    other = played_by("--search-mode", "template")
    assert (other.base_url, other.options) == (None, {})
    assert isinstance(other.make_engine(), TemplateEngine)
    sft = played_by("--search-mode", "simulate_sft")
    assert (sft.base_url, sft.options) == ("http://127.0.0.1:1", {})


def test_paths_in_tables_of_options_are_recorded_by_name_asked_for_again_and_given_one_by_one(tmp_path: Path) -> None:
    away = tmp_path / "away"
    real = {"search_mode": "bm25", "corpus": f"{away}/p.jsonl", "index": f"{away}/ix", "k1": 1.2}
    options = {
        "real": {**real, "around": {"cache": f"{away}/web.sqlite", "tries": 2}},
        "simulated": {"search_mode": "simulate_prompt", "simulation_llm": f"{away}/m.gguf", "system": "/no_think x"},
        "real_budget": {"requests": 5, "path": f"{away}/budget.sqlite"},
        "real_probability": 0.5,
    }
    sections = {"model": {"source": "m"}, "search": {"mode": "hybrid", "options": options}}
    config = load_config(sections)
    record = config.record()
    assert str(tmp_path) not in json.dumps(record)
    recorded = record["search"]["options"]
    assert recorded["real"]["around"] == {"cache": "web.sqlite", "tries": 2}
    assert recorded["real_budget"] == {"requests": 5, "path": "budget.sqlite"}
    assert recorded["simulated"]["system"] == "/no_think x"  # looks like a path, and is none
    assert config.search.options == options
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(record))
    (folder / "start.json").write_text(json.dumps({"search_paths": sorted(config.search.paths)}))
    run = RunFolder("r", root=tmp_path / "runs", resume=True)
    command = resume_command(run, config, model=False).split()
    flags = [word for word in command if word.startswith(("real", "simulated"))]
    assert len(flags) == len(config.search.paths) == 5
    with pytest.raises(ConfigError, match=r"searched with real.corpus 'p.jsonl'.*--search-option real.corpus=PATH"):
        resumed_sections(run, {"search": {"options": {"real.around.cache": f"{away}/web.sqlite"}}})
    given = sections_of(parser().parse_args(command[3:]))
    assert load_config(resumed_sections(run, given)).search.options == options
    # The corpus' name on a server is no path.
    assert SearchConfig(mode="wiki", options={"corpus": "wiki-18"}).paths == {}


def test_what_stands_beside_the_options_does_not_stand_in_them() -> None:
    with pytest.raises(ConfigError, match=r"check is a key of \[search\] itself"):
        SearchConfig(options={"check": True})
