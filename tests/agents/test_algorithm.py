from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from agents.accumulation import Example
from agents.algorithm import Algorithm, PolicyLoss, TrainingSettings, sampler_mismatch
from agents.batches import Batching
from agents.critic import ValueTokens
from agents.grpo import Grpo
from agents.learner import Learner, LossTokens
from agents.metrics import METRICS
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.ppo import Ppo, PpoSettings, ValueLoss
from agents.questions import NoiseSchedule
from agents.reinforce import Reinforce, ReinforceSettings
from agents.trajectory import TokenSegment
from tests.agents.doubles import PlayedBefore, make_trajectory
from zs_env.errors import ConfigError
from zs_env.types import Question

COMMON: dict[str, Any] = {"optimizer": OptimizerSettings(learning_rate=1e-2), "noise": NoiseSchedule(), "seed": 0}


def tokens_of(**changes: Any) -> LossTokens:
    """Three tokens, the first episode's two and another's one; unmoved since they were sampled."""
    values: dict[str, Any] = {
        "logprobs": torch.tensor([0.5, 0.25, 0.1]).log().requires_grad_(),
        "sampled_logprobs": torch.tensor([0.5, 0.25, 0.1]).log(),
        "advantages": torch.tensor([1.0, 1.0, -2.0]),
        "entropy": torch.zeros(3),
        "ref_logprobs": None,
        "rows": torch.tensor([0, 0, 1]),
    }
    return LossTokens(**(values | changes))


def test_a_constant_denominator_has_no_episodes_length_in_it(tiny_policy: Policy) -> None:
    # Nothing has moved, so a token's loss is -A. Episodes of 4 and 12 tokens with A = 1 and A = -0.5:
    # (4·(-1) + 12·0.5) / (2 episodes × 20 tokens) = 0.05.
    learner = Learner(tiny_policy, OptimizerSettings())
    examples = learner.with_old_logprobs(
        [Example.of(make_trajectory(0, 1.0, 4), 1.0), Example.of(make_trajectory(0, 0.0, 12), -0.5)]
    )
    training = TrainingSettings(aggregation="constant", constant_tokens=20, old_logprobs="recomputed")
    metrics = learner.accumulate(examples, PolicyLoss.of(training), training.aggregation)
    assert metrics["loss"] == pytest.approx(0.05, abs=1e-5)
    # With each episode alike it is (-1 + 0.5) / 2.
    assert learner.accumulate(examples, PolicyLoss(), "sequence_mean")["loss"] == pytest.approx(-0.25, abs=1e-5)
    # The critic has the same denominator: ½·(0 - 1)² / 20 a token.
    zeros, one = torch.zeros(3), torch.ones(3)
    assert ValueLoss(0.0, 20)(ValueTokens(zeros, zeros, one)).loss.tolist() == pytest.approx([0.025] * 3)


def test_the_penalty_for_length_is_learned_from_and_not_logged_as_reward(questions: list[Question]) -> None:
    # L_max 10, L_cache 4: with 6, 8 and 12 tokens 0, -(8 - 6)/4 = -0.5 and -1; rewards 1, 1, 1 become 1, 0.5, 0.
    played = [make_trajectory(0, 1.0, length) for length in (6, 8, 12)]
    training = TrainingSettings(overlong_tokens=10, overlong_buffer_tokens=4)

    def learn(algorithm: type[Algorithm], settings: Any) -> tuple[list[float], dict[str, float]]:
        executor = PlayedBefore(played)
        step = algorithm(executor, questions, training, settings, **COMMON).step(0)  # type: ignore[arg-type, call-arg]
        return [float(example.advantages[-1]) for example in executor.learned[0]], step.metrics  # type: ignore[index]

    # GRPO: mean 0.5, sample std 0.5. Leave-one-out: 1 - 0.25, 0.5 - 0.5, 0 - 0.75. PPO: less the critic's 0.25.
    for algorithm, settings, expected in (
        (Grpo, None, [1.0, 0.0, -1.0]),
        (Reinforce, None, [0.75, 0.0, -0.75]),
        (Ppo, PpoSettings(whiten=False), [0.75, 0.25, -0.25]),
    ):
        advantages, metrics = learn(algorithm, settings)
        assert advantages == pytest.approx(expected, abs=1e-5)
        assert (metrics["reward_mean"], metrics["overlong_penalty"]) == (1.0, 0.5)
        assert set(metrics) <= set(METRICS)


def test_the_correction_weighs_the_surrogate_and_not_the_penalty() -> None:
    # Ratios against the learner are 1, so a token's surrogate is -A: -1, -1, 2. Learner / sampler: 0.5/0.25 = 2,
    # 0.25/0.5 = 0.5 and 0.1/0.01 = 10, capped at 3: -2, -0.5, 6. KL (k1) to a reference that says half: log 2.
    learner = torch.tensor([0.5, 0.25, 0.1]).log()
    tokens = tokens_of(old_logprobs=learner, sampled_logprobs=torch.tensor([0.25, 0.5, 0.01]).log())
    assert PolicyLoss(importance_cap=3.0)(tokens).loss.tolist() == pytest.approx([-2.0, -0.5, 6.0])
    with_kl = tokens_of(
        old_logprobs=learner,
        sampled_logprobs=torch.tensor([0.25, 0.5, 0.01]).log(),
        ref_logprobs=learner - math.log(2),
    )
    loss = PolicyLoss(importance_cap=3.0, kl_coef=1.0, kl_estimator="k1")(with_kl).loss
    assert loss.tolist() == pytest.approx([-2.0 + math.log(2), -0.5 + math.log(2), 6.0 + math.log(2)])
    # Without a cap the sampler isn't corrected for.
    assert PolicyLoss()(tokens).loss.tolist() == pytest.approx([-1.0, -1.0, 2.0])


def test_where_sampler_and_learner_agree_the_correction_changes_nothing() -> None:
    moved = {"logprobs": torch.tensor([0.6, 0.2, 0.15]).log().requires_grad_()}
    plain, corrected = tokens_of(**moved), tokens_of(**moved, old_logprobs=tokens_of().sampled_logprobs)
    one, other = PolicyLoss()(plain).loss, PolicyLoss(importance_cap=1e30)(corrected).loss
    assert torch.equal(one, other)
    gradients = [torch.autograd.grad(loss.sum(), moved["logprobs"]) for loss in (one, other)]
    assert torch.equal(gradients[0][0], gradients[1][0])


def test_gspo_and_gspo_token_have_one_loss_where_an_episode_has_one_advantage(tiny_policy: Policy) -> None:
    # They differ where its tokens' advantages do.
    trajectories = [make_trajectory(group, 0.0, 3 + 4 * group) for group in range(3)]
    learner = Learner(tiny_policy, OptimizerSettings(), batching=Batching(max_tokens=50))

    def gradient(importance: Any, examples: list[Example]) -> tuple[float, torch.Tensor]:
        learner.parameters.zero_grad()
        loss = PolicyLoss(importance=importance, clip_low=0.5, clip_high=1.0)
        value = learner.accumulate(examples, loss, "sequence_mean")["loss"]
        flat = [part.grad.flatten() for part in tiny_policy.model.parameters() if part.grad is not None]
        return value, torch.cat(flat)

    same = [Example.of(trajectory, (-1.0) ** n) for n, trajectory in enumerate(trajectories)]
    (one, first), (other, second) = (gradient(name, same) for name in ("sequence", "sequence_token"))
    assert one == pytest.approx(other, rel=1e-5)
    assert float(first.norm()) > 0
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)
    apart = [Example(trajectory, torch.linspace(-1, 2, trajectory.num_policy_tokens)) for trajectory in trajectories]
    first, second = (gradient(name, apart)[1] for name in ("sequence", "sequence_token"))
    assert float((first - second).norm()) > 0.01 * float(first.norm())


def test_recomputed_log_probs_are_the_learners_and_asked_for_once_a_step(
    tiny_policy: Policy, questions: list[Question]
) -> None:
    learner = Learner(tiny_policy, OptimizerSettings(), temperature=0.7)
    trajectories = [make_trajectory(group, float(group), 3 + 4 * group) for group in range(2)]
    trajectories[1].group = 0
    known = learner.with_old_logprobs([Example.of(trajectory, 1.0) for trajectory in trajectories])
    for example in known:
        ids, mask = example.trajectory.ids(), example.trajectory.policy_mask()
        with torch.no_grad():
            naive = (tiny_policy.model(input_ids=torch.tensor([ids])).logits[0] / 0.7).log_softmax(-1)
        expected = [float(naive[place - 1, ids[place]]) for place, is_policy in enumerate(mask) if is_policy]
        assert example.old_logprobs is not None
        assert example.old_logprobs.tolist() == pytest.approx(expected, abs=1e-4)
    # With nothing moved every ratio is 1, however far the sampler was.
    metrics = learner.accumulate(known, PolicyLoss(), "token_mean")
    assert (metrics["ratio_mean"], metrics["ratio_max"]) == pytest.approx((1.0, 1.0), abs=1e-4)

    class Counting(PlayedBefore):
        calls = 0

        def with_old_logprobs(self, examples: Any) -> list[Example]:
            assert not self.learned
            self.calls += 1
            return super().with_old_logprobs(examples)

    for algorithm, settings in ((Grpo, None), (Ppo, None), (Reinforce, ReinforceSettings(surrogate="clipped"))):
        for name, calls in (("recomputed", 1), ("sampled", 0)):
            executor = Counting(trajectories)
            training = TrainingSettings(old_logprobs=name, num_epochs=3)  # type: ignore[arg-type]
            step = algorithm(executor, questions, training, settings, **COMMON).step(0)  # type: ignore[arg-type]
            assert (executor.calls, len(executor.learned)) == (calls, 3)
            assert ("sampler_kl" in step.metrics) is (name == "recomputed")
            assert ("importance_capped_share" in step.metrics) is False
            assert set(step.metrics) <= set(METRICS)


def test_how_far_sampler_and_learner_are_apart_is_measured() -> None:
    # Sampled at -5, -5, -5.5, -5.5, the learner says -5: d = 0, 0, 0.5, 0.5. Mean |d| 0.25; KL (k3) = e^0.5 - 1 - 0.5 =
    # 0.148721 for two of four tokens: 0.074361. e^0.5 = 1.65 is above a cap of 1.5, not above one of 2.
    (example,) = PlayedBefore([]).with_old_logprobs([Example.of(make_trajectory(0, 1.0, 4), 1.0)])
    metrics = sampler_mismatch([example], cap=1.5)
    assert metrics == pytest.approx(
        {
            "sampler_mismatch_mean": 0.25,
            "sampler_mismatch_max": 0.5,
            "sampler_kl": 0.0743606,
            "importance_capped_share": 0.5,
        },
        abs=1e-6,
    )
    assert sampler_mismatch([example], cap=2.0)["importance_capped_share"] == 0.0
    assert "importance_capped_share" not in sampler_mismatch([example])
    silent = make_trajectory(0, 0.0, 1)
    silent.segments[1] = TokenSegment("policy", (), "", ())
    nothing = Example(silent, torch.zeros(0), old_logprobs=torch.zeros(0))
    assert sampler_mismatch([nothing])["sampler_mismatch_max"] == 0.0


def test_the_penalty_on_rewards_is_of_the_log_probs_that_the_ratio_compares_with(questions: list[Question]) -> None:
    # The reference says -4, the learner -5 (the sampler -5, -5, -5.5, -5.5): KL -1 for each of four tokens; with 0.1
    # the returns to go are 1.4, 1.3, 1.2, 1.1.
    executor = PlayedBefore([make_trajectory(0, 1.0, 4)])
    settings = ReinforceSettings(baseline="none", kl_placement="reward")
    training = TrainingSettings(kl_coef=0.1, old_logprobs="recomputed")
    Reinforce(executor, questions, training, settings, **COMMON).step(0)  # type: ignore[arg-type]
    torch.testing.assert_close(executor.learned[0][0].advantages, torch.tensor([1.4, 1.3, 1.2, 1.1]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregation": "constant"}, r"constant_tokens=0.*max_new_tokens × max_turns"),
        ({"constant_tokens": 100}, "aggregation='token_mean' and constant_tokens=100"),
        ({"constant_tokens": -1}, "constant_tokens"),
        ({"importance": "episode"}, "importance must be one of"),
        ({"old_logprobs": "none"}, "old_logprobs must be one of"),
        ({"importance_cap": 2.0}, "importance_cap=2.0 .* would count twice.*old_logprobs='recomputed'"),
        ({"importance_cap": -1.0, "old_logprobs": "recomputed"}, "importance_cap must be a finite number"),
        ({"overlong_tokens": 10, "overlong_buffer_tokens": 11}, "overlong_buffer_tokens=11"),
        ({"overlong_buffer_tokens": 5}, "overlong_tokens=0"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingSettings(**changes)


def test_a_loss_is_a_plain_object_of_numbers() -> None:
    training = TrainingSettings(
        aggregation="constant", constant_tokens=9, importance="sequence", old_logprobs="recomputed", importance_cap=2.0
    )
    loss = PolicyLoss.of(training)
    assert (loss.constant_tokens, loss.importance, loss.importance_cap) == (9, "sequence", 2.0)
    assert all(isinstance(getattr(loss, name), (int, float, str)) for name in PolicyLoss.__dataclass_fields__)
