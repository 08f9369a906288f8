from typing import Any

import pytest
import torch

from agents.algorithm import TrainingSettings
from agents.conversation import RolloutSettings
from agents.executors import LocalExecutor
from agents.learner import Learner, frozen_copy
from agents.metrics import METRICS
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.questions import NoiseSchedule
from agents.reinforce import Reinforce, ReinforceSettings
from agents.samplers import SamplingSettings
from agents.testing import byte_tokenizer, tiny_lfm2
from tests.agents.doubles import PlayedBefore, first_letters, make_trajectory
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.types import Question

COMMON: dict[str, Any] = {"optimizer": OptimizerSettings(learning_rate=1e-2), "noise": NoiseSchedule(), "seed": 0}


def make_reinforce(
    policy: Policy, engine: Any, questions: list[Question], training: TrainingSettings, **settings: Any
) -> Reinforce:
    executor = LocalExecutor(
        Learner(policy, COMMON["optimizer"], reference=frozen_copy(policy) if training.kl_coef else None),
        engine=engine,
        episode_settings=EpisodeSettings(prompt="short", max_turns=2, reward=first_letters),
        rollout_settings=RolloutSettings(max_new_tokens=12, max_episode_tokens=600),
        sampling=SamplingSettings(),
        seed=0,
    )
    return Reinforce(executor, questions, training, ReinforceSettings(**settings), **COMMON)  # type: ignore[arg-type]


def played() -> list[Any]:
    """Two groups: rewards 1, 0, 0 and 1, 1."""
    rewards = ((0, 1.0, 4), (0, 0.0, 5), (0, 0.0, 6), (1, 1.0, 7), (1, 1.0, 8))
    return [make_trajectory(*row) for row in rewards]


@pytest.mark.parametrize(
    ("baseline", "expected"),
    # The mean of the others of its group; of its group, 1/3 and 1; of all five, 3/5; nothing.
    [
        ("leave_one_out", [1.0, -0.5, -0.5, 0.0, 0.0]),
        ("group_mean", [2 / 3, -1 / 3, -1 / 3, 0.0, 0.0]),
        ("batch_mean", [0.4, -0.6, -0.6, 0.4, 0.4]),
        ("none", [1.0, 0.0, 0.0, 1.0, 1.0]),
    ],
)
def test_defect_13_there_is_a_baseline_and_it_has_a_name(
    questions: list[Question], baseline: Any, expected: list[float]
) -> None:
    executor = PlayedBefore(played())
    settings = ReinforceSettings(baseline=baseline)
    Reinforce(executor, questions, TrainingSettings(), settings, **COMMON).step(0)  # type: ignore[arg-type]
    for example, advantage in zip(executor.learned[0], expected, strict=True):
        # Every policy token of an episode has the same, and retrieved tokens have none.
        torch.testing.assert_close(
            example.advantages, torch.full((example.trajectory.num_policy_tokens,), advantage), atol=1e-6, rtol=0
        )
    assert ReinforceSettings().baseline == "leave_one_out"


def test_discounted_returns_and_the_penalty_are_each_tokens_own(questions: list[Question]) -> None:
    # Reward 1, γ = 0.5, no baseline: 1/8, 1/4, 1/2, 1.
    executor = PlayedBefore([make_trajectory(0, 1.0, 4)])
    settings = ReinforceSettings(baseline="none", gamma=0.5)
    Reinforce(executor, questions, TrainingSettings(), settings, **COMMON).step(0)  # type: ignore[arg-type]
    torch.testing.assert_close(executor.learned[0][0].advantages, torch.tensor([0.125, 0.25, 0.5, 1.0]))
    # KL -1, -1, -1.5, -1.5 (see PlayedBefore), coefficient 0.1, γ = 1: 1.5, 1.4, 1.3, 1.15.
    executor = PlayedBefore([make_trajectory(0, 1.0, 4)])
    settings = ReinforceSettings(baseline="none", kl_placement="reward")
    reinforce = Reinforce(executor, questions, TrainingSettings(kl_coef=0.1), settings, **COMMON)  # type: ignore[arg-type]
    reinforce.step(0)
    torch.testing.assert_close(executor.learned[0][0].advantages, torch.tensor([1.5, 1.4, 1.3, 1.15]))
    assert reinforce.loss.kl_coef == 0.0


def test_defect_13_whitened_advantages_are_over_the_policy_tokens_of_the_step(questions: list[Question]) -> None:
    executor = PlayedBefore(played())
    settings = ReinforceSettings(whiten=True)
    Reinforce(executor, questions, TrainingSettings(), settings, **COMMON).step(0)  # type: ignore[arg-type]
    flat = torch.cat([example.advantages for example in executor.learned[0]])  # type: ignore[misc]
    assert abs(float(flat.mean())) < 1e-6
    assert float(flat.std()) == pytest.approx(1.0)


def test_reinforce_plus_plus_whitens_the_reward_less_the_kl_still_to_come(questions: list[Question]) -> None:
    # Rewards 1 and 0, two tokens each, KL -1 and -1.5 (see PlayedBefore), β = 0.1. Less the KL from each token on:
    # 1.25, 1.15 and 0.25, 0.15. Mean 0.7, sample variance (0.55² + 0.45² + 0.45² + 0.55²) / 3 = 1.01/3, std 0.580230:
    # 0.947900, 0.775555, -0.775555, -0.947900.
    executor = PlayedBefore([make_trajectory(0, 1.0, 2), make_trajectory(1, 0.0, 2)])
    settings = ReinforceSettings(baseline="none", whiten=True, kl_placement="reward", surrogate="clipped")
    training = TrainingSettings(group_size=1, kl_coef=0.1, num_epochs=2)
    reinforce = Reinforce(executor, questions, training, settings, **COMMON)  # type: ignore[arg-type]
    assert reinforce.step(0).metrics["num_updates"] == 2
    found = torch.cat([example.advantages for example in executor.learned[0]])  # type: ignore[misc]
    torch.testing.assert_close(found, torch.tensor([0.9479, 0.775555, -0.775555, -0.9479]), atol=1e-5, rtol=0)
    assert (reinforce.loss.surrogate, reinforce.loss.kl_coef) == ("clipped", 0.0)


def test_reinforce_plus_plus_with_a_baseline_whitens_what_the_group_mean_leaves(questions: list[Question]) -> None:
    # Groups {1, 0} and {1, 1}, of 2 tokens each: 0.5, -0.5, 0, 0 for two tokens each. Mean 0, sample variance
    # 4·0.25 / 7, std 0.377964: 1.322876 for the winner.
    rows = ((0, 1.0), (0, 0.0), (1, 1.0), (1, 1.0))
    executor = PlayedBefore([make_trajectory(group, reward, 2) for group, reward in rows])
    settings = ReinforceSettings(baseline="group_mean", whiten=True, surrogate="clipped")
    training = TrainingSettings(kl_coef=0.1, kl_estimator="k2")
    reinforce = Reinforce(executor, questions, training, settings, **COMMON)  # type: ignore[arg-type]
    reinforce.step(0)
    found = [example.advantages[0].item() for example in executor.learned[0]]  # type: ignore[index]
    assert found == pytest.approx([1.322876, -1.322876, 0.0, 0.0], abs=1e-5)
    assert (reinforce.loss.kl_coef, reinforce.loss.kl_estimator) == (0.1, "k2")


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_mean"])
def test_an_episode_left_alone_in_its_group_has_no_others_to_compare_with(
    questions: list[Question], baseline: Any
) -> None:
    trajectories = played()
    trajectories[4].status = "failed"
    executor = PlayedBefore(trajectories)
    settings = ReinforceSettings(baseline=baseline)
    step = Reinforce(executor, questions, TrainingSettings(), settings, **COMMON).step(0)  # type: ignore[arg-type]
    assert [example.trajectory for example in executor.learned[0]] == trajectories[:3]
    assert (step.metrics["num_examples"], step.metrics["num_failed"]) == (3, 1)


def test_a_policy_learns_what_is_rewarded(tiny_policy: Policy, engine: Any, questions: list[Question]) -> None:
    training = TrainingSettings(total_steps=12, questions_per_step=4, group_size=8)
    reinforce = make_reinforce(tiny_policy, engine, questions, training)
    rewards = [reinforce.step(step).metrics["reward_mean"] for step in range(12)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15


def test_steps_are_deterministic_and_every_metric_is_defined(engine: Any, questions: list[Question]) -> None:
    training = TrainingSettings(total_steps=2, questions_per_step=3, group_size=2, kl_coef=0.01, num_minibatches=2)
    runs = []
    for _ in range(2):
        policy = Policy(tiny_lfm2(), byte_tokenizer())
        reinforce = make_reinforce(policy, engine, questions, training, surrogate="clipped", whiten=True)
        runs.append([reinforce.step(step).metrics for step in range(2)])
    for one, other in zip(*runs, strict=True):
        assert {n: v for n, v in one.items() if not n.endswith("_s")} == {
            n: v for n, v in other.items() if not n.endswith("_s")
        }
        assert {"kl", "clip_fraction"} <= set(one) <= set(METRICS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "median"}, "baseline must be one of"),
        ({"surrogate": "soft"}, "surrogate must be one of"),
        ({"gamma": 2.0}, "gamma"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReinforceSettings(**changes)


def test_settings_that_contradict_are_named() -> None:
    with pytest.raises(ConfigError, match="baseline='group_mean' needs a group_size of at least 2; got 1"):
        ReinforceSettings(baseline="group_mean").check(TrainingSettings(group_size=1))
    with pytest.raises(ConfigError, match="importance='sequence' is of the ratio, and surrogate='plain' has none"):
        ReinforceSettings().check(TrainingSettings(importance="sequence"))
    ReinforceSettings(surrogate="clipped").check(TrainingSettings(importance="sequence"))
