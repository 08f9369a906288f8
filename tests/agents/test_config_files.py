import re
from pathlib import Path
from typing import Any

import pytest

from agents import config_files
from agents.cli import main, parser, sections_of
from agents.config import load_config, load_preset
from agents.config_files import Layer, merge, read_file
from zs_env.errors import ConfigError


def layers(*given: dict[str, Any], gives_way: bool = False) -> list[Layer]:
    return [Layer(origin=str(index), sections=sections, gives_way=gives_way) for index, sections in enumerate(given)]


def train_sections(*flags: object) -> dict[str, dict[str, Any]]:
    return sections_of(parser().parse_args(["train", *map(str, flags)]))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_lies_over_the_preset_and_flags_over_both(tmp_path: Path) -> None:
    file = write(tmp_path / "my.toml", "[training]\ntotal_steps = 30\ngroup_size = 4\n")
    sections = train_sections("--preset", "quickstart", "--config", file, "--group-size", 6)
    preset = load_preset("quickstart")
    assert sections["training"] == preset["training"] | {"total_steps": 30, "group_size": 6}
    assert sections["optimizer"] == preset["optimizer"]
    assert train_sections("--config", file) == {"training": {"total_steps": 30, "group_size": 4}}


def test_files_extend_presets_and_each_other_section_by_section(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", 'extends = "quickstart"\n[training]\ntotal_steps = 50\ngroup_size = 4\n')
    file = write(tmp_path / "deep" / "own.toml", 'extends = "../base.toml"\n[training]\ntotal_steps = 60\n')
    sections = merge(read_file(file))
    assert sections["training"]["total_steps"] == 60
    assert sections["training"]["group_size"] == 4
    assert sections["training"]["questions_per_step"] == 24
    assert sections["model"] == load_preset("quickstart")["model"]
    assert [layer.gives_way for layer in read_file(file)] == [True, True, False]


def test_presets_extend_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_files, "PRESETS", tmp_path)
    write(tmp_path / "one.toml", '[run]\nalgorithm = "grpo"\n[grpo]\nstd = "none"\n[model]\nsource = "m"\n')
    write(tmp_path / "two.toml", 'extends = "one"\n[run]\nalgorithm = "ppo"\n[ppo]\nlam = 0.9\n')
    assert load_preset("two") == {"run": {"algorithm": "ppo"}, "ppo": {"lam": 0.9}, "model": {"source": "m"}}
    write(tmp_path / "three.toml", 'extends = "four"\n')
    write(tmp_path / "four.toml", 'extends = "three"\n')
    with pytest.raises(ConfigError, match="preset three extends preset four extends preset three"):
        load_preset("three")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "quickest"\n', r"my.toml: extends = 'quickest' is neither a preset \(.*quickstart"),
        ("extends = 5\n", r"my.toml: extends = 5 is neither a preset"),
        ('extends = "my.toml"\n', r"my.toml extends .*my.toml: no file can extend itself"),
        ("[run]\nseed = 1\nseed = 2\n", r"my.toml is no TOML: .*line 3"),
        ("[run\n", r"my.toml is no TOML: .*line 1"),
        ("[policy]\n", r"my.toml: unknown section \[policy\]. Sections: run"),
        ("[training]\ngroup_sizes = 3\n", r"my.toml: \[training\] has no 'group_sizes'. It has: total_steps"),
        ("[training]\ngroup_size = '3'\n", r"my.toml: \[training\] group_size must be of type int; got '3'"),
        ("[training]\nclip_low = 1.5\n", r"my.toml: \[training\] clip_low must be below 1"),
        ("steps = 3\n", r"my.toml: unknown section \[steps\]"),
        ("run = 3\n", r"my.toml: \[run\] is a section of keys and values; got 3"),
        ("[ppo]\nlam = 0.9\n", r"\[ppo\] is not a section of algorithm 'grpo'"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text: str, message: str, tmp_path: Path, capsys: Any) -> None:
    file = write(tmp_path / "my.toml", text)
    assert main(["train", "--preset", "quickstart", "--config", str(file), "--runs", str(tmp_path / "runs")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no config file '.*none.toml'"):
        read_file(tmp_path / "none.toml")
    (tmp_path / "my.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"my.toml is no TOML: .*utf-8"):
        read_file(tmp_path / "my.toml")


def test_another_algorithm_takes_the_place_of_the_presets(tmp_path: Path) -> None:
    sections = train_sections("--preset", "quickstart", "--algorithm", "ppo")
    assert "grpo" not in sections
    assert load_config(sections).run.algorithm == "ppo"
    extending = write(tmp_path / "extending.toml", 'extends = "quickstart"\n')
    assert "grpo" not in train_sections("--config", extending, "--algorithm", "reinforce")
    # What somebody chose in the file itself is not dropped in silence.
    own = write(tmp_path / "own.toml", 'extends = "quickstart"\n[grpo]\nstd = "none"\n')
    with pytest.raises(ConfigError, match=r"\[grpo\] is not a section of algorithm 'ppo'"):
        load_config(train_sections("--config", own, "--algorithm", "ppo"))


def test_what_would_contradict_gives_way_to_what_comes_later() -> None:
    thresholds, mix = {"noise": {"start_threshold": 0.0, "end_threshold": 0.5}}, {"noise": {"mix": [0.5]}}
    assert merge(layers(thresholds, mix)) == mix
    assert merge(layers(mix, thresholds)) == thresholds
    assert merge(layers(thresholds, {"noise": {"end_threshold": 0.7}}))["noise"]["start_threshold"] == 0.0
    splits = {"questions": {"source": "atlas", "split": "train"}, "evaluation": {"split": "test"}}
    assert merge(layers(splits, {"questions": {"source": "f"}})) == {"questions": {"source": "f"}, "evaluation": {}}
    assert merge(layers(splits, {"evaluation": {"source": "f"}}))["questions"] == splits["questions"]


def test_a_shorter_run_has_shorter_warm_ups() -> None:
    said: list[str] = []
    warm = {"optimizer": {"warmup_steps": 5}, "critic": {"warmup_steps": 2}, "ppo": {"value_warmup_steps": 3}}
    merged = merge(layers({"run": {"algorithm": "ppo"}} | warm, {"training": {"total_steps": 3}}), say=said.append)
    assert (merged["optimizer"], merged["critic"]) == ({"warmup_steps": 1}, {"warmup_steps": 2})
    assert merged["ppo"] == {"value_warmup_steps": 1}
    assert said[0] == "[optimizer] warmup_steps = 5 is too long for 3 steps: it takes 1 instead."
    # One that is asked for together with the steps is an error that is told later.
    both = {"training": {"total_steps": 3}, "optimizer": {"warmup_steps": 4}}
    assert merge(layers(warm, both))["optimizer"] == {"warmup_steps": 4}


def test_layers_are_not_changed() -> None:
    given = layers({"training": {"total_steps": 9}, "optimizer": {"warmup_steps": 5}}, {"training": {"total_steps": 3}})
    merge(given)
    assert given[0].sections == {"training": {"total_steps": 9}, "optimizer": {"warmup_steps": 5}}
