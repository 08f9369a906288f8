from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agents.rllib import BASELINES, make_env, play, register_env
from agents.rllib.registration import SeededByWorker
from zs_env.errors import ConfigError
from zs_env.questions import load_questions

ray = pytest.importorskip("ray")
pytest.importorskip("ray.rllib")


def registered(config: dict[str, Any], worker: int = 0, **context: Any) -> gym.Env[Any, Any]:
    """What RLlib's env runner makes of a registered name."""
    from ray.rllib.env.env_context import EnvContext
    from ray.tune.registry import ENV_CREATOR, _global_registry

    create = _global_registry.get(ENV_CREATOR, "ZeroSearch-v0")
    made: gym.Env[Any, Any] = create(EnvContext(config, worker_index=worker, **context))
    return made


def test_the_registered_environment_is_made_and_stepped() -> None:
    assert register_env(noise_probability=0.25) == "ZeroSearch-v0"
    env = registered({"menu": {"num_candidates": 3}, "max_turns": 2})
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert info["noise_probability"] == 0.25
    assert env.action_space == gym.spaces.Discrete(7)
    *_, terminated, truncated, _ = env.step(0)
    assert not terminated
    assert not truncated
    *_, truncated, info = env.step(0)
    assert truncated
    assert registered({"noise_probability": 0.75}).reset(seed=0)[1]["noise_probability"] == 0.75


def first_questions(env: gym.Env[Any, Any], seed: int | None = None) -> list[str]:
    return [env.reset(seed=seed if i == 0 else None)[1]["question_id"] for i in range(4)]


def test_copies_draw_apart_and_the_same_whenever_it_is_run_again() -> None:
    register_env(seed=7)
    from ray.rllib.env.env_context import EnvContext
    from ray.tune.registry import ENV_CREATOR, _global_registry

    create = _global_registry.get(ENV_CREATOR, "ZeroSearch-v0")

    def all_copies() -> list[list[str]]:
        drawn = []
        for worker in range(3):
            context = EnvContext({}, worker_index=worker)  # RLlib gives one to all copies of a worker
            drawn += [first_questions(create(context)) for _ in range(3)]
        return drawn

    drawn = all_copies()
    assert len({tuple(questions) for questions in drawn}) == 9
    assert drawn == all_copies()


def test_a_seed_of_rllibs_own_counts_too() -> None:
    def drawn(own: int, given: int | None) -> list[str]:
        return first_questions(SeededByWorker(gym.make("ZeroSearch-v0"), own), given)

    cases = [drawn(own, given) for own in (0, 1) for given in (None, 0, 1)]
    assert len({tuple(questions) for questions in cases}) == 6
    assert drawn(0, 1) == drawn(0, 1)


@pytest.mark.parametrize(
    ("wrapper", "observes", "acts"),
    [
        ("menu", gym.spaces.Box(0.0, 1.0, (135,), np.float32), gym.spaces.Discrete(10)),
        ("tokens+menu", gym.spaces.Box(0, 4097, (512,), np.float32), gym.spaces.Discrete(10)),
    ],
)
def test_each_wrapper_has_its_spaces(wrapper: str, observes: gym.Space[Any], acts: gym.Space[Any]) -> None:
    env = make_env({"wrapper": wrapper})
    assert env.observation_space == observes
    assert env.action_space == acts


def test_text_stays_text_where_it_is_asked_for() -> None:
    for wrapper in ("tokens", "none"):
        env = make_env({"wrapper": wrapper})
        env.reset(seed=0)
        assert env.step("<answer>x</answer>")[2]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"noise": 0.5}, "no 'noise'.*It has: wrapper, menu, tokens, seed, questions"),
        ({"noise_probabilty": 0.5}, "did you mean 'noise_probability'"),
        ({"wrapper": "both"}, "'menu', 'tokens', 'tokens\\+menu', 'none'; got 'both'"),
        ({"tokens": {"length": 9}}, "wrapper='menu' doesn't have"),
        ({"menu": {"candidates": 9}}, "no 'candidates' \\(did you mean 'num_candidates'"),
        ({"menu": 9}, "mapping of ActionMenu's options"),
        ({"seed": -1}, "seed"),
        ({"max_turns": 0}, "max_turns"),
    ],
)
def test_wrong_configurations_are_told(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(config)


def test_wrong_defaults_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="did you mean 'topk'"):
        register_env("mine", top_k=3)
    with pytest.raises(ConfigError, match="name of an environment"):
        register_env("")


def test_a_vector_entry_point_is_refused() -> None:
    register_env()
    with pytest.raises(ConfigError, match="gym_env_vectorize_mode"):
        registered({"num_envs": 2})


def test_importing_it_imports_neither_ray_nor_torch() -> None:
    code = (
        "import sys; import agents.rllib; agents.rllib.make_env({'wrapper': 'tokens+menu'}).reset(seed=0); "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'ray', 'torch', 'transformers'}))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_without_ray_the_install_command_is_told() -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from agents.rllib import register_env\n"
        "from zs_env.errors import MissingPackageError\n"
        "try: register_env()\n"
        "except MissingPackageError as error: print(error)"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert 'pip install "zerosearch-env[rllib]"' in told


def test_baselines_play_and_are_measured() -> None:
    questions = list(load_questions("atlas", "test"))[::20]
    found = {
        name: play(lambda: make_env({"split": "test"}), questions, baseline(0), num_envs=16)
        for name, baseline in BASELINES.items()
    }
    assert found["uniform"]["exact_match"] < 0.2
    assert found["one search"]["hops_1"]["exact_match"] > 0.95
    assert found["one search"]["hops_2"]["exact_match"] < 0.05
    assert found["by hand"]["exact_match"] > 0.95
    low, high = found["by hand"]["exact_match_ci"]
    assert low < found["by hand"]["exact_match"] < high
    assert found["by hand"]["n"] == len(questions)
    assert found["by hand"]["invalid_per_episode"] == 0.0


def test_how_many_play_side_by_side_changes_nothing() -> None:
    questions = list(load_questions("atlas", "test"))[:20]
    found = [
        play(lambda: make_env({"noise_probability": 0.5}), questions, BASELINES["by hand"](0), num_envs=count)
        for count in (1, 7, 20)
    ]
    assert found[0] == found[1] == found[2]


@pytest.fixture
def local_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=200_000_000,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}},
    )
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ["menu", "masked", "tokens", "embedded", "workers", "subprocesses", "dqn"])
def test_rllibs_own_algorithms_take_an_iteration(case: str, local_ray: None) -> None:
    from ray.rllib.algorithms.dqn import DQNConfig
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule

    from agents.rllib.modules import TokenModule

    env_config: dict[str, Any] = {"noise_probability": 0.5, "seed": 0}
    if case == "masked":
        env_config["menu"] = {"mask": True}
    if case in ("tokens", "embedded"):
        env_config |= {"wrapper": "tokens+menu", "tokens": {"length": 128, "vocab_size": 500}}
        env_config["menu"] = {"mask": case == "embedded"}
    config = (DQNConfig() if case == "dqn" else PPOConfig()).environment(register_env(), env_config=env_config)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=2).learners(num_learners=0).debugging(seed=0)
    if case == "dqn":
        config.training(num_steps_sampled_before_learning_starts=100)
    else:
        config.training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)
    if case == "workers":
        config.env_runners(num_env_runners=1, num_cpus_per_env_runner=0.5)
    if case == "subprocesses":
        config.env_runners(gym_env_vectorize_mode="async")
    modules = {"masked": ActionMaskingTorchRLModule, "embedded": TokenModule}
    if case in modules:
        config.rl_module(rl_module_spec=RLModuleSpec(module_class=modules[case]))
    algorithm = config.build_algo()
    before = [value.copy() for value in algorithm.get_module().get_state().values()]
    result = algorithm.train()
    after = list(algorithm.get_module().get_state().values())
    algorithm.stop()
    assert result["env_runners"]["num_episodes"] > 10
    assert any(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))
