from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.engine_specs import EngineSpec, check_names, parse_spec, read_specs
from zs_env.errors import ConfigError


def test_specs_with_addresses_and_names() -> None:
    spec = parse_spec("a@simulate_prompt:simulation_llm=m,base_url=http://127.0.0.1:1/v1,max_tries=2")
    assert spec == EngineSpec(
        name="a",
        search_mode="simulate_prompt",
        options={"simulation_llm": "m", "base_url": "http://127.0.0.1:1/v1", "max_tries": 2},
    )
    assert spec.record()["options"]["base_url"] == "SERVER"
    assert parse_spec("template") == EngineSpec(name="template", search_mode="template")


def test_records_hold_no_folders() -> None:
    assert parse_spec("bm25:corpus=/somewhere/deep/p.jsonl").record()["options"] == {"corpus": "p.jsonl"}


def test_files_of_engines(tmp_path: Path) -> None:
    toml, json = tmp_path / "e.toml", tmp_path / "e.json"
    toml.write_text(
        '[[engine]]\nsearch_mode = "template"\n[[engine]]\nname = "b"\nsearch_mode = "bm25"\ncorpus = "c"\n'
    )
    json.write_text('{"engine": [{"search_mode": "template"}]}')
    assert [spec.name for spec in read_specs(toml)] == ["template", "b"]
    assert read_specs(toml)[1].options == {"corpus": "c"}
    assert read_specs(json) == [EngineSpec(name="template", search_mode="template")]


@pytest.mark.parametrize("text", ["", "[[engines]]\nsearch_mode = 'x'", "engine = 3", "[[engine]]\nname = 'x'", "[["])
def test_files_that_say_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "e.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        read_specs(file)


def test_two_engines_of_one_name() -> None:
    with pytest.raises(ConfigError, match="other@template"):
        check_names([parse_spec("template"), parse_spec("template:x=1")])
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        parse_spec("template:oops")
