from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agents.cli import parser
from agents.config import load_config
from agents.flags import sections_of
from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_lfm2

EXAMPLES = Path(__file__).parents[2] / "examples"
ALGORITHMS = ("grpo", "ppo", "reinforce")

# ZeroSearch's own line, but for the data and the number of GPUs.
THEIRS = (
    "NUM_GPUS_PER_NODE 0 MODEL_PATH Qwen2.5-3B-Instruct DATA_PATH atlas TOTAL_STEPS 203 IP localhost "
    "SEARCH_MODE simulate_prompt SIMULATION_LLM Qwen2.5-14B-Instruct START_THRESHOLD 0 END_THRESHOLD 0.5 "
    "SEARCH_ENGINE google MAX_TURNS 5 TOPK 5"
)


def run(algorithm: str, arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(EXAMPLES / f"train_{algorithm}.sh"), *shlex.split(arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
    )


def command(algorithm: str, arguments: str, cwd: Path) -> list[str]:
    """The flags of `python -m agents` that the script would run."""
    done = run(algorithm, arguments, cwd, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout)
    assert words[:3] == [sys.executable, "-m", "agents"]
    return words[3:]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_zerosearchs_own_line_gives_its_own_settings(algorithm: str, tmp_path: Path) -> None:
    config = load_config(sections_of(parser().parse_args(command(algorithm, THEIRS, tmp_path))))
    training = config.training
    assert (config.run.algorithm, config.run.device, config.model.source) == (algorithm, "cpu", "Qwen2.5-3B-Instruct")
    assert (config.questions.source, config.episode.max_turns, config.search.topk) == ("atlas", 5, 5)
    assert (config.search.mode, config.search.simulation_llm) == ("simulate_prompt", "Qwen2.5-14B-Instruct")
    assert config.search.base_url == "http://localhost:6001"
    assert config.search.options == {"persona": "Google"}
    assert (config.noise.start_threshold, config.noise.end_threshold) == (0, 0.5)
    assert (training.total_steps, training.questions_per_step, training.group_size) == (203, 64, 5)
    assert (training.kl_coef, training.clip_low, training.clip_high) == (0.001, 0.2, 0.2)
    assert (config.episode.reward, config.rollout.max_new_tokens, config.sampling.temperature) == ("f1", 500, 1)
    assert config.optimizer.learning_rate == 1e-6
    # 0.95 of 203 steps; PPO's 0.285, and 0.015 for its critic.
    assert config.optimizer.warmup_steps == (57 if algorithm == "ppo" else 192)
    if algorithm == "ppo":
        assert (config.critic.learning_rate, config.critic.warmup_steps) == (1e-5, 3)


def test_names_come_in_any_order_and_flags_after_them_win(tmp_path: Path) -> None:
    pairs = THEIRS.split()
    turned = " ".join(" ".join(pairs[index : index + 2]) for index in reversed(range(0, len(pairs), 2)))
    straight = command("grpo", THEIRS, tmp_path)
    assert command("grpo", turned, tmp_path) == straight
    assert command("grpo", f"{THEIRS} -- --seed 3 --prompt 'a {{question}}'", tmp_path) == [
        *straight,
        *("--seed", "3", "--prompt", "a {question}"),
    ]
    config = load_config(sections_of(parser().parse_args(command("grpo", f"{THEIRS} -- --topk 2", tmp_path))))
    assert config.search.topk == 2


def test_a_folder_like_theirs_is_trained_and_measured_on(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    arguments = THEIRS.replace("DATA_PATH atlas", "DATA_PATH 'my data'")
    done = run("grpo", f"--dry-run {arguments}", tmp_path)
    assert done.returncode == 2
    assert "DATA_PATH 'my data' holds no train.parquet" in done.stderr
    for part in ("train", "test"):
        (folder / f"{part}.parquet").touch()
    words = command("grpo", arguments, tmp_path)
    assert words[words.index("--questions") + 1] == "my data/train.parquet"
    assert words[words.index("--eval-questions") + 1] == "my data/test.parquet"


def test_what_has_no_effect_is_said(tmp_path: Path) -> None:
    done = run("grpo", THEIRS.replace("simulate_prompt", "template"), tmp_path, DRY_RUN="1")
    for line in (
        "SEARCH_ENGINE google is not used: it says which engine a simulation LLM plays, and search mode template has",
        "IP localhost is not used: search mode template has no simulation LLM",
        "SIMULATION_LLM Qwen2.5-14B-Instruct is not used",
    ):
        assert line in done.stderr
    assert "--base-url" not in done.stdout
    assert "--simulation-llm" not in done.stdout
    assert "persona" not in done.stdout


@pytest.mark.parametrize(
    ("named", "persona"), [("wiki", "Wikipedia"), ("Wikipedia", "Wikipedia"), ("'Pub Med'", "Pub Med")]
)
def test_the_search_engine_is_the_one_that_the_simulator_plays(named: str, persona: str, tmp_path: Path) -> None:
    words = command("grpo", THEIRS.replace("SEARCH_ENGINE google", f"SEARCH_ENGINE {named}"), tmp_path)
    assert words[words.index("--search-option") + 1] == f"persona={persona}"
    assert "--search-option" not in command("grpo", THEIRS.replace("SEARCH_ENGINE google ", ""), tmp_path)
    options = load_config(sections_of(parser().parse_args([*words, "--search-option", "max_tries=1"]))).search.options
    assert options == {"persona": persona, "max_tries": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (f"{THEIRS} GPUS 4", "unknown name 'GPUS'"),
        (f"{THEIRS} TOPK 6", "TOPK is given twice"),
        ("MODEL_PATH m DATA_PATH", "DATA_PATH has no value"),
        ("MODEL_PATH DATA_PATH atlas", "MODEL_PATH has no value"),
        ("MODEL_PATH m DATA_PATH atlas SEARCH_MODE -- --seed 1", "SEARCH_MODE has no value"),
        ("MODEL_PATH m DATA_PATH atlas SEARCH_MODE template", "TOTAL_STEPS is missing"),
        (THEIRS.replace("203", "many"), "TOTAL_STEPS must be a whole number; got 'many'"),
        ("", "MODEL_PATH is missing"),
    ],
)
def test_errors_name_what_is_wrong_and_the_names(arguments: str, message: str, tmp_path: Path) -> None:
    done = run("reinforce", arguments, tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"error: {message}" in done.stderr
    assert "SIMULATION_LLM START_THRESHOLD END_THRESHOLD" in done.stderr


def test_an_error_of_the_command_line_is_the_scripts(tmp_path: Path) -> None:
    done = run("grpo", THEIRS.replace("NUM_GPUS_PER_NODE 0", "NUM_GPUS_PER_NODE 4"), tmp_path)
    assert done.returncode == 2
    assert "num_gpus=4: one process trains on one GPU" in done.stderr


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_on_ray_half_of_the_gpus_learn_and_the_others_play(algorithm: str, tmp_path: Path) -> None:
    alone = command(algorithm, THEIRS, tmp_path)
    arguments = f"{algorithm} {THEIRS.replace('NUM_GPUS_PER_NODE 0', 'NUM_GPUS_PER_NODE 5')} -- --topk 2"
    words = command("on_ray", arguments, tmp_path)
    shared = [word for word in alone if word in words]
    assert [word for word in alone if word not in shared] == ["--num-gpus"]
    config = load_config(sections_of(parser().parse_args(words)))
    scale = config.scale
    assert (config.run.executor, scale.num_learners, scale.num_samplers) == ("ray", 2, 3)
    assert (scale.gpus_per_learner, scale.gpus_per_sampler) == (1, 1)
    assert (config.run.algorithm, config.search.topk) == (algorithm, 2)


def test_on_ray_without_gpus_it_computes_on_the_cpu(tmp_path: Path) -> None:
    config = load_config(sections_of(parser().parse_args(command("on_ray", f"grpo {THEIRS}", tmp_path))))
    assert (config.run.executor, config.run.device, config.scale.num_learners) == ("ray", "cpu", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (THEIRS, "the first argument is an algorithm, grpo, ppo or reinforce; got 'NUM_GPUS_PER_NODE'"),
        ("", "the first argument is an algorithm, grpo, ppo or reinforce; got ''"),
        (f"ppo {THEIRS.replace('PER_NODE 0', 'PER_NODE 1')}", "NUM_GPUS_PER_NODE must be 0, or 2 or more; got '1'"),
        ("ppo MODEL_PATH m", "DATA_PATH is missing"),
    ],
)
def test_on_ray_an_error_names_what_is_wrong(arguments: str, message: str, tmp_path: Path) -> None:
    done = run("on_ray", arguments, tmp_path)
    assert done.returncode == 2
    assert f"error: {message}" in done.stderr


def test_a_script_trains(tmp_path: Path) -> None:
    Policy(tiny_lfm2(), byte_tokenizer()).save(tmp_path / "tiny")
    small = (
        "--questions-per-step 2 --group-size 2 --max-new-tokens 8 --max-episode-tokens 500 --prompt short "
        "--eval-limit 1 --threads 1 --run-name scripted"
    )
    pairs = "SEARCH_MODE template DATA_PATH atlas MODEL_PATH tiny TOTAL_STEPS 1 MAX_TURNS 2 NUM_GPUS_PER_NODE 0"
    done = run("ppo", f"{pairs} -- {small}", tmp_path)
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "runs" / "scripted" / "summary.json").read_text())["settings"]
    assert (settings["run"]["algorithm"], settings["training"]["total_steps"]) == ("ppo", 1)
