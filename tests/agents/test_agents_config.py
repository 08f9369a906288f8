import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agents.config import TrainConfig, load_config, load_preset, preset_names
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.rewards import make_reward


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_whole_and_make_an_engine(name: str) -> None:
    config = load_config(load_preset(name), origin=name)
    config.search.make_engine()
    config.episode.settings(config.search.topk)
    config.sampling.settings().check_for_training()
    total = config.training.total_steps
    config.noise.schedule(total).probability(total - 1, 0)
    assert config.evaluation.split != config.questions.split


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_the_papers_presets_have_its_numbers(algorithm: str) -> None:
    config = load_config(load_preset(f"zerosearch-qwen2.5-3b-{algorithm}"))
    assert config.run.algorithm == algorithm
    assert config.model.source == "Qwen/Qwen2.5-3B"
    assert config.questions.source == "hf:sunhaonlp/ZeroSearch_dataset"
    training = config.training
    assert (training.total_steps, training.questions_per_step, training.group_size) == (203, 64, 5)
    assert (training.clip_low, training.clip_high, training.kl_coef) == (0.2, 0.2, 0.001)
    assert (config.noise.start_threshold, config.noise.end_threshold) == (0.0, 0.5)
    assert (config.episode.max_turns, config.search.topk, config.episode.reward) == (5, 5, "f1")
    assert (config.episode.prompt, config.sampling.temperature) == ("upstream", 1.0)
    assert (config.search.mode, config.search.base_url) == ("simulate_prompt", "http://127.0.0.1:6001/v1")
    assert (config.rollout.max_new_tokens, config.rollout.max_episode_tokens) == (500, 4096 + 500)
    # The warm-ups of ZeroSearch's scripts are shares of the steps: 0.95, and 0.285 and 0.015 of PPO.
    assert config.optimizer.learning_rate == 1e-6
    assert config.optimizer.warmup_steps == int(203 * (0.285 if algorithm == "ppo" else 0.95))
    if algorithm == "ppo":
        assert (config.critic.learning_rate, config.critic.warmup_steps) == (1e-5, int(203 * 0.015))
        assert (config.ppo.gamma, config.ppo.lam, config.ppo.kl_placement) == (1.0, 1.0, "reward")


def test_the_curriculum_spans_the_steps() -> None:
    config = load_config({"model": {"source": "m"}, "noise": {"start_threshold": 0.25, "end_threshold": 0.5}})
    schedule = config.noise.schedule(204)
    assert (schedule.probability(0, 0), schedule.probability(203, 0)) == (0.25, 0.5)
    # The paper's published curve, with m = 203.
    assert round(schedule.probability(101, 0), 4) == 0.3328


BASE = {"model": {"source": "m"}}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"policy": {}}, r"unknown section \[policy\]"),
        ({"training": {"group_sizes": 3}}, r"\[training\] has no 'group_sizes'. It has: total_steps"),
        ({"training": {"group_size": "8"}}, r"\[training\] group_size must be of type int; got '8'"),
        ({"training": {"group_size": True}}, r"\[training\] group_size must be of type int; got True"),
        ({"optimizer": {"learning_rate": "fast"}}, r"learning_rate must be of type float"),
        ({"optimizer": {"warmup_steps": 200}}, r"warmup_steps=200 must be below total_steps=200"),
        ({"run": 5}, r"\[run\] is a section of keys and values; got 5"),
        ({"evaluation": {"noise": 0.5}}, r"\[evaluation\] noise must be of type list of float; got 0.5"),
        ({"noise": {"mix": 0.5}}, r"\[noise\] mix must be of type list of float; got 0.5"),
        ({"noise": {"mix": ["much"]}}, r"\[noise\] mix must be of type list of float; got \['much'\]"),
        ({"optimizer": {"betas": 0.9}}, r"\[optimizer\] betas must be of type list of float; got 0.9"),
        ({"optimizer": {"schedule": ["linear"]}}, r"\[optimizer\] schedule must be of type str"),
        ({"optimizer": {"learning_rate": [1e-4]}}, r"\[optimizer\] learning_rate must be of type float"),
        ({"training": {"total_steps": None}}, r"\[training\] total_steps must be of type int; got None"),
        ({"episode": {"reward": {"em": "much"}}}, r"\[episode\] reward must be of type str or table of float"),
        ({"run": {"algorithm": "dqn"}}, r"Unknown algorithm 'dqn'. Available: grpo, ppo, reinforce"),
        ({"ppo": {"lam": 0.9}}, r"\[ppo\] is not a section of algorithm 'grpo', which has \[grpo\]"),
        ({"training": {"group_size": 1}}, r"group_size must be at least 2 for grpo"),
        ({"run": {"algorithm": "reinforce"}, "training": {"group_size": 1}}, r"baseline='batch_mean'"),
        ({"run": {"algorithm": "reinforce"}, "training": {"num_epochs": 2}}, r"surrogate='plain' is right for one"),
        ({"run": {"algorithm": "ppo"}, "critic": {"warmup_steps": 200}}, r"\[critic\] warmup_steps=200 must be below"),
        ({"run": {"algorithm": "ppo"}, "ppo": {"value_warmup_steps": 200}}, r"the policy would never learn"),
        ({"noise": {"end_threshold": 0.5}}, r"belong together"),
        ({"noise": {"mix": []}}, r"\[noise\] mix needs at least one probability"),
        ({"noise": {"start_threshold": 0.1, "end_threshold": 0.5, "mix": [0.5]}}, r"not both"),
        ({"evaluation": {"split": "train"}}, r"both use 'atlas', split 'train'"),
        ({"evaluation": {"noise": [1.5]}}, r"between 0 and 1"),
        ({"evaluation": {"noise": [0.5, 0.0, 0.5]}}, r"names each chance once"),
        ({"model": {"source": ""}}, r"No model"),
    ],
)
def test_what_is_wrong_is_named(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(BASE | sections)


def test_the_characters_of_a_search_are_limited_as_in_the_environment() -> None:
    limits = {0: None, 100: 100}
    for given, limit in limits.items():
        config = load_config(BASE | {"episode": {"max_information_chars": given}})
        assert config.episode.settings(5).max_information_chars == limit
    assert load_config(BASE).episode.settings(5) == EpisodeSettings(reward=make_reward("em"))
    with pytest.raises(ConfigError, match="max_information_chars"):
        load_config(BASE | {"episode": {"max_information_chars": 99}}).episode.settings(5)


def test_splits_are_left_out_unless_the_atlas_needs_them(tmp_path: Path) -> None:
    config = load_config(BASE)
    assert (config.questions.split, config.evaluation.split) == ("train", "test")
    config = load_config(BASE | {"questions": {"source": "a.jsonl"}, "evaluation": {"source": "b.jsonl"}})
    assert (config.questions.split, config.evaluation.split) == (None, None)
    config = load_config(BASE | {"questions": {"source": "a.jsonl"}, "evaluation": {"source": "atlas"}})
    assert (config.questions.split, config.evaluation.split) == (None, "test")


def test_one_file_under_two_names_is_not_trained_on_and_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.jsonl").write_text("")
    (tmp_path / "link.jsonl").symlink_to("my.jsonl")
    for other in ("./my.jsonl", str(tmp_path / "my.jsonl"), "link.jsonl"):
        with pytest.raises(ConfigError, match=r"both use 'my.jsonl'"):
            load_config(BASE | {"questions": {"source": "my.jsonl"}, "evaluation": {"source": other}})


def test_a_file_taken_whole_is_not_measured_on_in_part_nor_the_other_way_round() -> None:
    def load(split: str | None, eval_split: str | None) -> None:
        load_config(BASE | {"questions": {"source": "my.jsonl", "split": split}, "evaluation": {"split": eval_split}})

    with pytest.raises(ConfigError, match=r"both use 'my.jsonl' \(training names no split, so it takes all of it\)"):
        load(None, "test")
    with pytest.raises(ConfigError, match=r"both use 'my.jsonl' \(evaluation names no split, so it takes all of it\)"):
        load("train", None)
    load("train", "test")


def test_records_hold_no_path_of_this_machine(tmp_path: Path) -> None:
    folder, file = tmp_path / "my-model", tmp_path / "my.jsonl"
    folder.mkdir()
    file.write_text("")
    record = load_config(
        {"model": {"source": str(folder)}, "questions": {"source": str(file)}, "evaluation": {"noise": []}}
    ).record()
    assert record["model"]["source"] == "my-model"
    assert record["questions"]["source"] == "my.jsonl"
    assert str(tmp_path) not in repr(record)


def test_every_section_and_field_is_documented() -> None:
    for section in dataclasses.fields(TrainConfig):
        made = section.default_factory  # type: ignore[misc]
        for field in dataclasses.fields(made):  # type: ignore[arg-type]
            docs = "".join(parent.__doc__ or "" for parent in made.__mro__)  # type: ignore[union-attr]
            assert f"{field.name}:" in docs, f"{section.name}.{field.name}"


def test_options_without_an_effect_or_with_a_wrong_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="masters='none' is for weights in bfloat16 that are trained, and"):
        load_config({"model": {"source": "m"}, "optimizer": {"masters": "none"}})
    bfloat16 = {"source": "m", "dtype": "bfloat16"}
    assert load_config({"model": bfloat16, "optimizer": {"masters": "none"}}).optimizer.masters == "none"
    with pytest.raises(ConfigError, match="LoRA's factors are float32: leave it out"):
        load_config({"model": bfloat16, "optimizer": {"masters": "none"}, "lora": {"rank": 4}})
    imitating = {"model": {"source": "m"}, "imitation": {"num_steps": 3}, "training": {"kl_coef": 0.1}}
    assert load_config(imitating).imitation.num_steps == 3
    with pytest.raises(ConfigError, match="would pull to the model before the imitation"):
        load_config({**imitating, "lora": {"rank": 4}})
