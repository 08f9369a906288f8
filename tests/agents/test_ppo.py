import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from agents.accumulation import Example
from agents.algorithm import PolicyLoss, TrainingSettings
from agents.batches import Batching
from agents.conversation import RolloutSettings
from agents.critic import Critic, CriticLearner
from agents.errors import ModelError, NonFiniteError
from agents.executors import LocalExecutor
from agents.learner import Learner, frozen_copy
from agents.metrics import METRICS
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.ppo import CriticSettings, Ppo, PpoSettings, ValueLoss
from agents.questions import NoiseSchedule
from agents.samplers import SamplingSettings
from agents.testing import byte_tokenizer, tiny_lfm2
from agents.trajectory import TokenSegment
from tests.agents.doubles import PlayedBefore, first_letters, make_trajectory
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.types import Question

COMMON: dict[str, Any] = {"optimizer": OptimizerSettings(learning_rate=1e-2), "noise": NoiseSchedule(), "seed": 0}


def make_ppo(policy: Policy, engine: Any, questions: list[Question], training: TrainingSettings, **ppo: Any) -> Ppo:
    critic = CriticSettings(learning_rate=2e-3)
    executor = LocalExecutor(
        Learner(policy, COMMON["optimizer"], reference=frozen_copy(policy) if training.kl_coef else None),
        critic=CriticLearner(Critic(policy), critic),
        engine=engine,
        episode_settings=EpisodeSettings(prompt="short", max_turns=2, reward=first_letters),
        rollout_settings=RolloutSettings(max_new_tokens=12, max_episode_tokens=600),
        sampling=SamplingSettings(),
        seed=0,
    )
    return Ppo(executor, questions, training, PpoSettings(**ppo), critic=critic, **COMMON)  # type: ignore[arg-type]


def test_defect_13_advantages_and_targets_are_over_policy_tokens_alone(questions: list[Question]) -> None:
    # 4 policy tokens around 9 retrieved ones; reward 1; the critic says 0.25 everywhere. With λ = 1 every token's
    # target is 1 and its advantage 0.75: the retrieved tokens are no steps in between.
    executor = PlayedBefore([make_trajectory(0, 1.0, 4)])
    step = Ppo(executor, questions, TrainingSettings(), PpoSettings(whiten=False), **COMMON).step(0)  # type: ignore[arg-type]
    (example,) = executor.learned[0]
    assert executor.criticised == executor.learned
    torch.testing.assert_close(example.advantages, torch.full((4,), 0.75))
    torch.testing.assert_close(example.returns, torch.ones(4))
    assert (step.metrics["value_mean"], step.metrics["return_mean"]) == (0.25, 1.0)
    # γ = 1, λ = 0.5: δ = 0.75 at the last token and 0 before it, so 0.75·0.5^k.
    executor = PlayedBefore([make_trajectory(0, 1.0, 4)])
    Ppo(executor, questions, TrainingSettings(), PpoSettings(whiten=False, lam=0.5), **COMMON).step(0)  # type: ignore[arg-type]
    torch.testing.assert_close(executor.learned[0][0].advantages, torch.tensor([0.09375, 0.1875, 0.375, 0.75]))


def test_defect_05_a_kl_penalty_is_taken_off_each_tokens_reward(questions: list[Question]) -> None:
    # Sampled at -5, -5, -5.5, -5.5, the reference says -4: KL -1, -1, -1.5, -1.5; taken off with 0.1 it adds 0.1, 0.1,
    # 0.15, 0.15. Returns to go from the reward of 1: 1.5, 1.4, 1.3, 1.15; less the value of 0.25.
    executor = PlayedBefore([make_trajectory(0, 1.0, 4)])
    training = TrainingSettings(kl_coef=0.1)
    ppo = Ppo(executor, questions, training, PpoSettings(whiten=False), **COMMON)  # type: ignore[arg-type]
    ppo.step(0)
    torch.testing.assert_close(executor.learned[0][0].advantages, torch.tensor([1.25, 1.15, 1.05, 0.9]))
    assert ppo.loss.kl_coef == 0.0  # it isn't counted twice
    executor = PlayedBefore([make_trajectory(0, 1.0, 4)])
    ppo = Ppo(executor, questions, training, PpoSettings(whiten=False, kl_placement="loss"), **COMMON)  # type: ignore[arg-type]
    ppo.step(0)
    torch.testing.assert_close(executor.learned[0][0].advantages, torch.full((4,), 0.75))
    assert ppo.loss.kl_coef == 0.1


def test_defect_13_whitening_is_over_policy_tokens_and_leaves_targets_alone(questions: list[Question]) -> None:
    executor = PlayedBefore([make_trajectory(0, 1.0, 4), make_trajectory(1, 0.0, 6)])
    Ppo(executor, questions, TrainingSettings(), PpoSettings(), **COMMON).step(0)  # type: ignore[arg-type]
    good, bad = executor.learned[0]
    both = torch.cat([good.advantages, bad.advantages])  # type: ignore[list-item]
    assert abs(float(both.mean())) < 1e-6
    assert float(both.std()) == pytest.approx(1.0)
    torch.testing.assert_close(good.returns, torch.ones(4))
    torch.testing.assert_close(bad.returns, torch.zeros(6))


def test_targets_that_differ_by_rounding_alone_have_no_variance_to_explain(questions: list[Question]) -> None:
    class Uneven(PlayedBefore):
        def with_values(self, examples: Sequence[Example]) -> list[Example]:
            return [
                example.with_(values=torch.linspace(-1.3, 2.9, example.trajectory.num_policy_tokens))
                for example in examples
            ]

    # Every return is 0.3, but 0.3 - value + value is not always that, in float32.
    executor = Uneven([make_trajectory(0, 0.3, 50), make_trajectory(1, 0.3, 70)])
    metrics = Ppo(executor, questions, TrainingSettings(), PpoSettings(), **COMMON).step(0).metrics  # type: ignore[arg-type]
    returns = torch.cat([example.returns for example in executor.learned[0]])  # type: ignore[misc]
    assert float(returns.std()) > 0
    assert metrics["explained_variance"] == 0.0


def test_an_episode_without_a_word_of_the_policys_is_no_error(tiny_policy: Policy) -> None:
    silent = make_trajectory(0, 0.0, 1)
    silent.segments[1] = TokenSegment("policy", (), "", ())
    example = Example(silent, torch.zeros(0), values=torch.zeros(0), returns=torch.zeros(0))
    metrics = Learner(tiny_policy, OptimizerSettings()).accumulate([example], PolicyLoss(), "token_mean")
    assert (metrics["loss"], metrics["ratio_max"]) == (0.0, 0.0)


def test_an_update_that_breaks_off_leaves_no_gradient(tiny_policy: Policy) -> None:
    examples = [Example(make_trajectory(g, 1.0, 4), *[torch.ones(4)] * 4) for g in range(2)]
    critic = Critic(tiny_policy)
    policy_learner = Learner(tiny_policy, OptimizerSettings(), batching=Batching(max_tokens=20))
    critic_learner = CriticLearner(critic, OptimizerSettings(), batching=Batching(max_tokens=20))

    def breaks_off(loss: Any) -> Any:
        calls: list[Any] = []

        def second_fails(tokens: Any) -> Any:
            calls.append(tokens)
            if len(calls) == 2:
                raise MemoryError
            return loss(tokens)

        return second_fails

    for learner, loss in ((policy_learner, PolicyLoss()), (critic_learner, ValueLoss(0.0))):
        with pytest.raises(MemoryError):
            learner.update(examples, breaks_off(loss), aggregation="token_mean", learning_rate=1.0)  # type: ignore[attr-defined]
    assert all(part.grad is None for part in (*tiny_policy.model.parameters(), *critic.parameters()))


def test_the_critic_learns_before_the_policy_moves_in_its_warm_up(questions: list[Question]) -> None:
    executor = PlayedBefore([make_trajectory(0, 1.0, 4)])
    ppo = Ppo(executor, questions, TrainingSettings(), PpoSettings(value_warmup_steps=2), **COMMON)  # type: ignore[arg-type]
    updates = [ppo.step(step).metrics["num_updates"] for step in range(3)]
    assert updates == [0, 0, 1]
    assert len(executor.criticised) == 3


def test_no_weight_of_the_policy_moves_in_the_critics_warm_up(
    tiny_policy: Policy, engine: Any, questions: list[Question]
) -> None:
    training = TrainingSettings(total_steps=3, questions_per_step=3, group_size=2)
    ppo = make_ppo(tiny_policy, engine, questions, training, value_warmup_steps=1)
    critic = ppo.executor.critic.critic  # type: ignore[attr-defined]
    before = [copy.deepcopy(part.state_dict()) for part in (tiny_policy.model, critic)]
    moved = []
    for step in range(2):
        ppo.step(step)
        pairs = zip((tiny_policy.model, critic), before, strict=True)
        moved.append([any(not torch.equal(v, old[n]) for n, v in part.state_dict().items()) for part, old in pairs])
    assert moved == [[False, True], [True, True]]


def test_defect_17_a_failed_episode_teaches_neither_policy_nor_critic(questions: list[Question]) -> None:
    played = [make_trajectory(0, 1.0, 4), make_trajectory(0, 0.0, 5)]
    played[1].status = "search_failed"
    executor = PlayedBefore(played)
    Ppo(executor, questions, TrainingSettings(), PpoSettings(), **COMMON).step(0)  # type: ignore[arg-type]
    assert [example.trajectory for example in executor.learned[0]] == [played[0]]
    assert executor.criticised == executor.learned
    nothing = PlayedBefore([played[1]])
    assert Ppo(nothing, questions, TrainingSettings(), PpoSettings(), **COMMON).step(0).metrics["num_updates"] == 0  # type: ignore[arg-type]


def test_defect_13_no_retrieved_token_moves_the_critic(tiny_policy: Policy) -> None:
    # Whatever is retrieved after the last policy token: the same values, the same loss, the same gradient.
    found = []
    for tokens in ((1, 2, 3), (200, 201, 202, 203, 204)):
        learner = CriticLearner(Critic(tiny_policy), OptimizerSettings(learning_rate=1e-2))
        trajectory = make_trajectory(0, 1.0, 6)
        trajectory.segments.append(TokenSegment("environment", tokens, ""))
        (example,) = learner.with_values([Example(trajectory)])
        assert example.values is not None
        assert len(example.values) == 6
        known = example.with_(returns=torch.linspace(0, 1, 6))
        result = learner.update([known], ValueLoss(0.0), aggregation="token_mean", learning_rate=1e-2)
        found.append((result, [value.clone() for value in learner.critic.state_dict().values()]))
    # Values are 0 at first: ½·mean of 0, 0.2², …, 1² = ½·2.2/6.
    assert found[0][0]["loss"] == pytest.approx(0.5 * 2.2 / 6, rel=1e-5)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_value_is_given_before_its_token_is_seen(tiny_policy: Policy) -> None:
    critic = Critic(tiny_policy)
    torch.nn.init.normal_(critic.head.weight, generator=torch.Generator().manual_seed(0))
    learner = CriticLearner(critic, OptimizerSettings())
    values = []
    for last in (7, 77):
        trajectory = make_trajectory(0, 1.0, 1)
        trajectory.segments = [trajectory.segments[0], TokenSegment("policy", (5, last), "", (-1.0, -1.0))]
        values.append(learner.with_values([Example(trajectory)])[0].values)
    torch.testing.assert_close(values[0], values[1])


def test_a_critic_can_learn_what_episodes_are_worth(tiny_policy: Policy) -> None:
    before = copy.deepcopy(tiny_policy.model.state_dict())
    learner = CriticLearner(Critic(tiny_policy), OptimizerSettings(learning_rate=1e-2))
    examples = [Example(make_trajectory(group, float(group % 2), 5 + group)) for group in range(4)]
    for _ in range(40):
        examples = [
            example.with_(returns=torch.full_like(example.values, example.trajectory.reward))  # type: ignore[arg-type]
            for example in learner.with_values(examples)
        ]
        loss = learner.update(examples, ValueLoss(0.5), aggregation="token_mean", learning_rate=1e-2)["loss"]
    assert loss < 0.02  # guessing the mean would leave ½·0.25
    # Its trunk is its own.
    assert all(torch.equal(value, before[name]) for name, value in tiny_policy.model.state_dict().items())


def test_a_target_that_is_not_finite_changes_no_weight(tiny_policy: Policy) -> None:
    learner = CriticLearner(Critic(tiny_policy), OptimizerSettings())
    before = copy.deepcopy(learner.critic.state_dict())
    (example,) = learner.with_values([Example(make_trajectory(0, 1.0, 4))])
    with pytest.raises(NonFiniteError, match="not applied"):
        learner.update(
            [example.with_(returns=torch.full((4,), torch.nan))],
            ValueLoss(0.0),
            aggregation="token_mean",
            learning_rate=1e-2,
        )
    assert all(torch.equal(value, before[name]) for name, value in learner.critic.state_dict().items())


def test_a_policy_learns_what_is_rewarded(tiny_policy: Policy, engine: Any, questions: list[Question]) -> None:
    training = TrainingSettings(total_steps=12, questions_per_step=4, group_size=8, num_epochs=2)
    ppo = make_ppo(tiny_policy, engine, questions, training)
    rewards = [ppo.step(step).metrics["reward_mean"] for step in range(12)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15


def test_steps_are_deterministic_and_every_metric_is_defined(engine: Any, questions: list[Question]) -> None:
    training = TrainingSettings(
        total_steps=2, questions_per_step=3, group_size=1, kl_coef=0.01, num_epochs=2, num_minibatches=2
    )
    runs = []
    for _ in range(2):
        ppo = make_ppo(Policy(tiny_lfm2(), byte_tokenizer()), engine, questions, training, lam=0.95)
        runs.append([ppo.step(step).metrics for step in range(2)])
    for one, other in zip(*runs, strict=True):
        assert {n: v for n, v in one.items() if not n.endswith("_s")} == {
            n: v for n, v in other.items() if not n.endswith("_s")
        }
        assert {"kl", "value_loss", "explained_variance", "critic_learning_rate"} <= set(one) <= set(METRICS)
        assert one["num_updates"] == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lam": 1.5}, "lam"),
        ({"gamma": -0.1}, "gamma"),
        ({"value_clip": float("nan")}, "value_clip"),
        ({"kl_placement": "both"}, "kl_placement must be one of"),
        ({"value_warmup_steps": -1}, "value_warmup_steps"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PpoSettings(**changes)


def test_a_model_without_a_trunk_gets_no_critic(tiny_policy: Policy) -> None:
    tiny_policy.model.base_model_prefix = ""
    with pytest.raises(ModelError, match="grpo or reinforce"):
        Critic(tiny_policy)
