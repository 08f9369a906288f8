from pathlib import Path

import pytest

from benchmarks.leaderboard.engines import engines_of
from benchmarks.leaderboard.secrecy import find_private, find_secrets
from zs_env.engines import SEARCH_MODES, ScriptedEngine
from zs_env.engines.around import RetryingEngine
from zs_env.errors import ConfigError


def test_the_atlas_has_engines_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZS_CACHE", str(tmp_path))
    assert [(e.name, e.kind) for e in engines_of([], on_atlas=True)] == [("template", "simulated")]
    assert engines_of([], on_atlas=False) == []
    found = engines_of(["closed-book", "facts@bm25:k1=1.2", "wiki:base_url=http://10.0.0.1:80"], on_atlas=True)
    assert [(e.name, e.kind) for e in found] == [("closed-book", "closed-book"), ("facts", "real"), ("wiki", "real")]
    assert Path(found[1].spec.options["corpus"]).is_file()
    assert found[1].spec.options["k1"] == 1.2


def test_records_say_nothing_of_where_engines_are(tmp_path: Path) -> None:
    corpus = tmp_path / "passages.jsonl"
    (engine, server) = engines_of(
        ["bm25", "simulate_prompt:simulation_llm=qwen,base_url=http://10.0.0.1:8000/v1"],
        on_atlas=False,
        corpus=str(corpus),
    )
    told = [engine.record(ScriptedEngine()), server.record(ScriptedEngine())]
    assert [*find_private(told), *find_secrets(told)] == []
    assert told[0]["options"] == {"corpus": "passages.jsonl"}


def test_modes_of_one_s_own_are_mixed_and_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEARCH_MODES, "mine", lambda: ScriptedEngine("x"))
    (engine,) = engines_of(["mine"], on_atlas=False, tries=3)
    assert engine.kind == "mixed"
    assert isinstance(engine.make(), RetryingEngine)
    (engine,) = engines_of(["mine"], on_atlas=False)
    assert isinstance(engine.make(), ScriptedEngine)


def test_engines_are_told_apart_by_name() -> None:
    with pytest.raises(ConfigError, match="Two engines are called 'template'"):
        engines_of(["template", "template"], on_atlas=True)


def test_a_file_of_engines(tmp_path: Path) -> None:
    file = tmp_path / "engines.toml"
    file.write_text('[[engine]]\nname = "mine"\nsearch_mode = "template"\n')
    assert [e.name for e in engines_of(["closed-book"], files=[file], on_atlas=False)] == ["closed-book", "mine"]
