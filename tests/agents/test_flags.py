from pathlib import Path
from typing import Any, get_type_hints

import pytest

from agents.cli import main, parser
from agents.config import TrainConfig, load_config
from agents.flags import FLAGS, PLAYING_FLAGS, sections_of
from zs_env.errors import ConfigError


def config_of(*flags: object) -> TrainConfig:
    return load_config(sections_of(parser().parse_args(["train", "--model", "m", *map(str, flags)])))


def test_every_flag_stands_for_a_setting_that_exists() -> None:
    sections = get_type_hints(TrainConfig)
    options = vars(parser().parse_args(["train"]))
    for flag, (names, key) in FLAGS.items():
        assert flag in options
        for name in names.split():
            assert key in get_type_hints(sections[name]), f"--{flag}: [{name}] {key}"
    assert set(PLAYING_FLAGS) <= set(FLAGS)


def test_flags_reach_their_settings() -> None:
    config = config_of(
        *("--num-minibatches", 2, "--num-epochs", 3, "--clip-low", 0.1, "--clip-high", 0.3, "--kl-estimator", "k1"),
        *("--entropy-coef", 0.01, "--micro-batch-tokens", 99, "--save-trajectories-every", 7, "--std", "none"),
        *("--warmup-steps", 4, "--device", "cpu", "--aggregation", "constant", "--constant-tokens", 640),
        *("--importance", "sequence", "--old-logprobs", "recomputed", "--importance-cap", 2),
        *("--overlong-tokens", 500, "--overlong-buffer-tokens", 100, "--dynamic-sampling-rounds", 3),
    )
    training = config.training
    assert (training.num_minibatches, training.num_epochs, training.clip_low, training.clip_high) == (2, 3, 0.1, 0.3)
    assert (training.kl_estimator, training.entropy_coef, config.learner.micro_batch_tokens) == ("k1", 0.01, 99)
    assert (config.run.save_trajectories_every, config.grpo.std, config.run.device) == (7, "none", "cpu")
    assert config.optimizer.warmup_steps == 4
    assert (training.aggregation, training.constant_tokens, training.importance) == ("constant", 640, "sequence")
    assert (training.old_logprobs, training.importance_cap) == ("recomputed", 2)
    assert (training.overlong_tokens, training.overlong_buffer_tokens) == (500, 100)
    assert config.grpo.dynamic_sampling_rounds == 3


def test_flags_of_an_algorithm_reach_its_own_section() -> None:
    ppo = config_of(
        *("--algorithm", "ppo", "--gamma", 0.9, "--lam", 0.8, "--critic-learning-rate", 1e-4),
        *("--critic-warmup-steps", 3, "--value-warmup-steps", 2),
    )
    assert ppo.ppo.value_warmup_steps == 2
    assert (ppo.ppo.gamma, ppo.ppo.lam, ppo.critic.learning_rate, ppo.critic.warmup_steps) == (0.9, 0.8, 1e-4, 3)
    reinforce = config_of("--algorithm", "reinforce", "--gamma", 0.9, "--baseline", "none")
    assert (reinforce.reinforce.gamma, reinforce.reinforce.baseline) == (0.9, "none")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--lam 0.9", "--lam is a flag of ppo, and this run's algorithm is grpo"),
        ("--gamma 0.9", "--gamma is a flag of ppo and reinforce, and this run's algorithm is grpo"),
        ("--algorithm ppo --std none", "--std is a flag of grpo, and this run's algorithm is ppo"),
        ("--algorithm ppo --baseline none", "--baseline is a flag of reinforce, and this run's algorithm is ppo"),
        ("--algorithm reinforce --critic-learning-rate 1", "--critic-learning-rate is a flag of ppo"),
        ("--algorithm dqn --lam 0.9", "Unknown algorithm 'dqn'"),
        ("--device gpu", "device must be 'auto', 'cpu', 'cuda'"),
        ("--device cuda:99", "device 'cuda:99': torch sees"),
        ("--num-gpus 4", "num_gpus=4: one process trains on one GPU"),
        ("--num-gpus 0 --device cpu", "--num-gpus 0 and --device cpu say the same thing twice"),
    ],
)
def test_flags_that_contradict_are_named(flags: str, message: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["train", "--model", "m", "--runs", str(tmp_path / "runs"), *flags.split()]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_config_files_algorithm_takes_flags_too(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('[run]\nalgorithm = "ppo"\n')
    assert config_of("--config", tmp_path / "my.toml", "--lam", 0.5).ppo.lam == 0.5
    with pytest.raises(ConfigError, match="--std is a flag of grpo"):
        config_of("--config", tmp_path / "my.toml", "--std", "none")


def test_no_gpu_is_the_cpu() -> None:
    assert config_of("--num-gpus", 0).run.device == "cpu"


def test_playing_takes_a_device_too(capsys: Any) -> None:
    for command in ("eval --model ./none", "ask Q --golden A --model ./none"):
        assert main([*command.split(), "--device", "cuda:99"]) == 2
        assert "device 'cuda:99': torch sees" in capsys.readouterr().err


def test_help_is_in_groups() -> None:
    train = next(action for action in parser()._actions if action.choices).choices["train"]  # type: ignore[index, union-attr]
    shown = train.format_help()
    for group in ("where settings come from:", "questions:", "learning, by algorithm:", "machine:", "what is kept:"):
        assert f"\n{group}\n" in shown
