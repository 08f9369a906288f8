import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from agents.algorithm import PolicyLoss, TrainingSettings
from agents.batches import Batching
from agents.conversation import RolloutSettings
from agents.errors import NonFiniteError
from agents.executors import LocalExecutor
from agents.grpo import Grpo, GrpoSettings
from agents.learner import Example, Learner, LossTokens, TokenLoss, frozen_copy
from agents.metrics import METRICS
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.questions import NoiseSchedule, QuestionOrder
from agents.samplers import SamplingSettings
from agents.testing import byte_tokenizer, tiny_lfm2
from agents.trajectory import TokenSegment
from tests.agents.doubles import PlayedBefore, first_letters, make_trajectory
from zs_env.curriculum import Curriculum
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.types import Question

EXAMPLES = [Example.of(make_trajectory(n // 2, 0.0, 1 + 5 * n), (-1.0) ** n * (1 + n)) for n in range(7)]


def gradients(learner: Learner) -> list[torch.Tensor]:
    found = [parameter.grad.clone() for parameter in learner.policy.model.parameters() if parameter.grad is not None]
    learner.parameters.zero_grad()
    return found


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
@pytest.mark.parametrize("micro_batch_tokens", [1, 60, 130])
def test_defect_14_uneven_micro_batches_give_the_gradient_of_the_whole_batch(
    tiny_policy: Policy, aggregation: Any, micro_batch_tokens: int
) -> None:
    tiny_policy.model.double()
    loss = PolicyLoss(entropy_coef=0.01)
    whole = Learner(tiny_policy, OptimizerSettings(), batching=Batching(max_tokens=10**9), entropy_gradient=True)
    first = whole.accumulate(EXAMPLES, loss, aggregation)
    expected = gradients(whole)
    parts = Learner(
        tiny_policy, OptimizerSettings(), batching=Batching(max_tokens=micro_batch_tokens), entropy_gradient=True
    )
    second = parts.accumulate(EXAMPLES, loss, aggregation)
    for one, other in zip(expected, gradients(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)
    assert first == pytest.approx(second, rel=1e-5)


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_defect_14_an_uneven_last_mini_batch_is_a_whole_one(
    tiny_policy: Policy, questions: list[Question], aggregation: Any
) -> None:
    # Three groups in two mini-batches, one of two groups and one of a single one. Where every token's loss is 1, a
    # mean is 1 whatever the mini-batch's size, and whatever micro-batches it is split into.
    settings = TrainingSettings(questions_per_step=3, num_minibatches=2)
    examples = [Example.of(make_trajectory(group, 0.0, 4 + 3 * group), 1.0) for group in range(3)]
    minibatches = list(make_grpo(PlayedBefore([]), questions, settings).passes(examples))
    assert [len(minibatch) for minibatch in minibatches] == [2, 1]

    def one(tokens: LossTokens) -> TokenLoss:
        return TokenLoss(tokens.logprobs * 0 + 1.0)

    for micro_batch_tokens in (1, 10**9):
        learner = Learner(tiny_policy, OptimizerSettings(), batching=Batching(max_tokens=micro_batch_tokens))
        losses = [learner.accumulate(minibatch, one, aggregation)["loss"] for minibatch in minibatches]
        assert losses == pytest.approx([1.0, 1.0])


def test_workers_side_by_side_give_the_same_gradient_to_the_last_bit(tiny_policy: Policy) -> None:
    found = []
    for num_workers in (1, 3):
        learner = Learner(tiny_policy, OptimizerSettings(), batching=Batching(max_tokens=60), num_workers=num_workers)
        metrics = learner.accumulate(EXAMPLES, PolicyLoss(), "token_mean")
        found.append((metrics, gradients(learner)))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(one, other) for one, other in zip(found[0][1], found[1][1], strict=True))


def test_the_loss_equals_a_double_loop_over_tokens(tiny_policy: Policy) -> None:
    learner = Learner(tiny_policy, OptimizerSettings())
    loss = learner.accumulate(EXAMPLES, PolicyLoss(clip_low=0.2, clip_high=0.28), "token_mean")["loss"]
    total, count = 0.0, 0
    for example in EXAMPLES:
        ids, mask = example.trajectory.ids(), example.trajectory.policy_mask()
        advantage = float(example.advantages[0])
        sampled = example.trajectory.sampled_logprobs()
        with torch.no_grad():
            logprobs = tiny_policy.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        for place, is_policy in enumerate(mask):
            if is_policy:
                ratio = math.exp(float(logprobs[place - 1, ids[place]]) - sampled[place])
                clipped = min(max(ratio, 0.8), 1.28)
                total -= min(ratio * advantage, clipped * advantage)
                count += 1
    assert loss == pytest.approx(total / count, rel=1e-4)


def test_defect_13_retrieved_tokens_have_no_part_in_the_loss(tiny_policy: Policy) -> None:
    # The last retrieved block comes after all policy tokens: whatever stands there, loss and gradient are the same.
    learner, loss = Learner(tiny_policy, OptimizerSettings()), PolicyLoss()
    found = []
    for tokens in ((1, 2, 3), (200, 201, 202, 203, 204)):
        trajectory = make_trajectory(0, 1.0, 6)
        trajectory.segments.append(TokenSegment("environment", tokens, ""))
        found.append(
            (learner.accumulate([Example.of(trajectory, 1.0)], loss, "token_mean")["loss"], gradients(learner))
        )
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_changes_no_weight(tiny_policy: Policy) -> None:
    learner = Learner(tiny_policy, OptimizerSettings(learning_rate=1.0))
    before = copy.deepcopy(tiny_policy.model.state_dict())
    with pytest.raises(NonFiniteError, match="not applied"):
        learner.update(
            [Example.of(make_trajectory(0, 1.0, 4), math.nan)],
            PolicyLoss(),
            aggregation="token_mean",
            learning_rate=1.0,
        )
    for name, value in tiny_policy.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in tiny_policy.model.parameters())


def test_defect_05_the_kl_term_of_an_update_pulls_towards_the_reference(tiny_policy: Policy) -> None:
    # The policy has left its reference; with no advantage at all, updates must bring it back.
    learner = Learner(tiny_policy, OptimizerSettings(learning_rate=1e-2), reference=frozen_copy(tiny_policy))
    with torch.no_grad():
        for parameter in tiny_policy.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    examples = learner.with_reference([Example.of(example.trajectory, 0.0) for example in EXAMPLES])
    loss = PolicyLoss(kl_coef=1.0)
    kl = [learner.update(examples, loss, aggregation="token_mean", learning_rate=1e-2)["kl"] for _ in range(15)]
    assert 0 < kl[-1] < 0.5 * kl[0]


def make_executor(policy: Policy, engine: Any, training: TrainingSettings, **changes: Any) -> LocalExecutor:
    reference = frozen_copy(policy) if training.kl_coef else None
    learner = Learner(policy, OptimizerSettings(learning_rate=1e-2), reference=reference)
    options: dict[str, Any] = {
        "engine": engine,
        "episode_settings": EpisodeSettings(prompt="short", max_turns=2, reward=changes.pop("reward", first_letters)),
        "rollout_settings": RolloutSettings(max_new_tokens=12, max_episode_tokens=600),
        "sampling": SamplingSettings(),
        "seed": 0,
    }
    return LocalExecutor(learner, **(options | changes))


def make_grpo(
    executor: Any, questions: Sequence[Question], training: TrainingSettings, settings: Any = None, **changes: Any
) -> Grpo:
    options: dict[str, Any] = {
        "optimizer": OptimizerSettings(learning_rate=1e-2),
        "noise": NoiseSchedule(),
        "seed": 0,
    }
    return Grpo(executor, questions, training, settings, **(options | changes))  # type: ignore[arg-type]


def test_a_policy_learns_what_is_rewarded(tiny_policy: Policy, engine: Any, questions: list[Question]) -> None:
    settings = TrainingSettings(total_steps=12, questions_per_step=4, group_size=8)
    grpo = make_grpo(make_executor(tiny_policy, engine, settings), questions, settings)
    rewards = [grpo.step(step).metrics["reward_mean"] for step in range(12)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15


def test_steps_are_deterministic_and_every_metric_is_defined(engine: Any, questions: list[Question]) -> None:
    settings = TrainingSettings(
        total_steps=2,
        questions_per_step=3,
        group_size=4,
        kl_coef=0.01,
        entropy_coef=0.01,
        num_epochs=2,
        num_minibatches=2,
    )
    runs = []
    for _ in range(2):
        policy = Policy(tiny_lfm2(), byte_tokenizer())
        grpo = make_grpo(
            make_executor(policy, engine, settings), questions, settings, GrpoSettings(zero_variance="keep")
        )
        runs.append([grpo.step(step) for step in range(2)])
    for one, other in zip(*runs, strict=True):
        assert [t.ids() for t in one.trajectories] == [t.ids() for t in other.trajectories]
        untimed = {name for name in one.metrics if not name.endswith("_s")}
        assert {n: one.metrics[n] for n in untimed} == {n: other.metrics[n] for n in untimed}
        assert set(one.metrics) <= set(METRICS)
        assert one.metrics["num_updates"] == 4
        assert one.metrics["logprob_difference"] < 1e-4
        assert {t.weight_version for t in one.trajectories} == {runs[0].index(one)}


def test_defect_17_failed_episodes_are_counted_and_not_learned_from(questions: list[Question]) -> None:
    played = [
        make_trajectory(0, 1.0, 4),
        make_trajectory(0, 0.0, 5),
        make_trajectory(0, 0.0, 6),
        # All but one of the second group failed, so there is nothing to compare that one with.
        make_trajectory(1, 1.0, 7),
        make_trajectory(1, 0.0, 8),
    ]
    played[1].status, played[4].status = "search_failed", "failed"
    executor = PlayedBefore(played)
    step = make_grpo(executor, questions, TrainingSettings(questions_per_step=2)).step(0)
    assert [example.trajectory for example in executor.learned[0]] == [played[0], played[2]]
    # Rewards 1 and 0, sample std 0.7071: ±0.7071.
    assert [example.advantages[-1].item() for example in executor.learned[0]] == pytest.approx(
        [0.7071, -0.7071], abs=1e-4
    )
    assert step.metrics["num_failed"] == 2
    assert step.metrics["reward_mean"] == pytest.approx(2 / 3)


def test_groups_that_teach_nothing_are_left_out_or_kept_by_name(questions: list[Question]) -> None:
    played = [make_trajectory(0, 1.0, 4), make_trajectory(0, 0.0, 5), make_trajectory(1, 1.0, 6)]
    played.append(make_trajectory(1, 1.0, 7))
    for name, expected in (("drop", 2), ("keep", 4)):
        executor = PlayedBefore(played)
        settings = GrpoSettings(zero_variance=name)  # type: ignore[arg-type]
        step = make_grpo(executor, questions, TrainingSettings(questions_per_step=2), settings).step(0)
        assert len(executor.learned[0]) == expected
        assert step.metrics["zero_variance_share"] == 0.5


def test_a_step_without_anything_to_learn_updates_nothing(questions: list[Question]) -> None:
    executor = PlayedBefore([make_trajectory(0, 1.0, 4), make_trajectory(0, 1.0, 5)])
    step = make_grpo(executor, questions, TrainingSettings()).step(0)
    assert executor.learned == []
    assert step.metrics["num_updates"] == 0


def test_defect_12_a_group_is_one_question_of_one_step(questions: list[Question]) -> None:
    # 4 questions, 3 a step: the second step holds one question of the first pass and two of the second.
    executor = PlayedBefore([])
    grpo = make_grpo(executor, questions, TrainingSettings(questions_per_step=3, group_size=2))
    groups: dict[int, set[str]] = {}
    keys = []
    for step in range(8):
        grpo.step(step)
        for task in executor.tasks:
            groups.setdefault(task.group, set()).add(task.question.id)
            keys.append(task.key)
    assert len(groups) == 24
    assert all(len(ids) == 1 for ids in groups.values())
    assert len(set(keys)) == len(keys) == 48


def test_defect_04_a_pass_asks_every_question_the_tail_included() -> None:
    order = QuestionOrder(10, seed=3)
    asked = [index for step in range(5) for index in order.take(step, 4)]
    assert sorted(asked[:10]) == sorted(asked[10:]) == list(range(10))
    assert asked[:10] != asked[10:] != list(range(10))
    # A resumed run asks the same without having asked before.
    assert QuestionOrder(10, seed=3).take(4, 4) == asked[16:]


def test_noise_follows_the_curriculum_or_the_mix() -> None:
    curriculum = NoiseSchedule(curriculum=Curriculum(start=0.25, end=0.5, total_steps=203))
    assert [round(curriculum.probability(step, 5), 4) for step in (0, 101, 203)] == [0.25, 0.3328, 0.5]
    mixed = NoiseSchedule(mix=(0.0, 0.5))
    assert [mixed.probability(9, index) for index in range(4)] == [0.0, 0.5, 0.0, 0.5]
    with pytest.raises(ConfigError, match="either"):
        NoiseSchedule(curriculum=Curriculum(start=0, end=1, total_steps=2), mix=(0.5,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_size": 0}, "group_size"),
        ({"clip_low": 1.0}, "clip_low"),
        ({"kl_coef": -0.1}, "kl_coef"),
        ({"kl_coef": math.nan}, "kl_coef"),
        ({"num_minibatches": 9, "questions_per_step": 8}, "never split"),
        ({"aggregation": "sum"}, "aggregation"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingSettings(**changes)


def test_grpo_refuses_an_unknown_std_and_groups_of_one() -> None:
    with pytest.raises(ConfigError, match="std must be one of"):
        GrpoSettings(std="biased")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="group_size must be at least 2 for grpo"):
        GrpoSettings().check(TrainingSettings(group_size=1))


def test_the_local_executor_refuses_what_can_not_be_trained(tiny_policy: Policy, engine: Any) -> None:
    with pytest.raises(ConfigError, match="top_p"):
        make_executor(tiny_policy, engine, TrainingSettings(), sampling=SamplingSettings(top_p=0.9))
    with pytest.raises(ConfigError, match="max_episode_tokens=5000"):
        make_executor(
            tiny_policy, engine, TrainingSettings(), rollout_settings=RolloutSettings(max_episode_tokens=5000)
        )
