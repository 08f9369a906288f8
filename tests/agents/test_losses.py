import math

import pytest
import torch

from agents.losses import (
    clipped_surrogate,
    clipped_value_loss,
    entropy_from_logits,
    importance_log_ratio,
    kl_penalty,
    policy_gradient,
    sampler_correction,
    selective_log_softmax,
    token_weights,
)
from zs_env.errors import ConfigError


def test_selective_log_softmax_equals_its_naive_form() -> None:
    torch.manual_seed(0)
    logits, ids = torch.randn(7, 11) * 5, torch.randint(11, (7,))
    naive = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(selective_log_softmax(logits, ids), naive)


def test_entropy_of_known_distributions() -> None:
    # Uniform over 4: log 4. One certain token: 0. Half and half, two tokens masked by -inf: log 2.
    logits = torch.tensor([[0.0, 0, 0, 0], [100.0, 0, 0, 0], [3.0, 3.0, -math.inf, -math.inf]])
    torch.testing.assert_close(entropy_from_logits(logits), torch.tensor([math.log(4), 0.0, math.log(2)]))


def test_the_clip_stops_what_has_moved_enough_and_only_that() -> None:
    # ratio, advantage -> loss = -min(r·A, clip(r, 0.8, 1.28)·A)
    #  1.5,  1  -> -min( 1.5,  1.28) = -1.28, clipped
    #  1.2,  1  -> -1.2: inside the wider upper bound
    #  0.5,  1  -> -min( 0.5,  0.8)  = -0.5, free: a good token that became rarer is pulled back
    #  0.5, -1  -> -min(-0.5, -0.8)  =  0.8, clipped
    #  1.5, -1  -> -min(-1.5, -1.28) =  1.5, free: a bad token that became likelier is pushed down
    ratio = torch.tensor([1.5, 1.2, 0.5, 0.5, 1.5])
    advantages = torch.tensor([1.0, 1, 1, -1, -1])
    logprobs = ratio.log().requires_grad_()
    result = clipped_surrogate(logprobs, torch.zeros(5), advantages, clip_low=0.2, clip_high=0.28)
    torch.testing.assert_close(result.loss, torch.tensor([-1.28, -1.2, -0.5, 0.8, 1.5]))
    assert result.clipped.tolist() == [True, False, False, True, False]
    result.loss.sum().backward()
    # d(-r·A)/dlogp = -r·A where free, 0 where clipped.
    torch.testing.assert_close(logprobs.grad, torch.tensor([0.0, -1.2, -0.5, 0.0, 1.5]))


def test_the_plain_policy_gradient_is_the_surrogates_where_nothing_has_moved() -> None:
    logprobs = torch.tensor([-0.5, -2.0], requires_grad=True)
    advantages = torch.tensor([1.5, -0.5])
    plain = torch.autograd.grad(policy_gradient(logprobs, advantages).sum(), logprobs)
    surrogate = clipped_surrogate(logprobs, logprobs.detach(), advantages).loss
    torch.testing.assert_close(plain, torch.autograd.grad(surrogate.sum(), logprobs))
    # -A is what each log-prob's loss grows by.
    torch.testing.assert_close(plain[0], torch.tensor([-1.5, 0.5]))


def test_the_value_clip_takes_the_worse_of_both_errors() -> None:
    # old 0.5, clip 0.2, return 1:
    #  V 0.6: inside, ½·0.4² = 0.08
    #  V 0.9: clipped to 0.7, ½·max(0.1², 0.3²) = 0.045, no gradient: it has gone far enough for one step
    #  V 0.1: clipped to 0.3, ½·max(0.9², 0.7²) = 0.405, free: it went the wrong way
    values = torch.tensor([0.6, 0.9, 0.1], requires_grad=True)
    result = clipped_value_loss(values, torch.full((3,), 0.5), torch.ones(3), clip=0.2)
    torch.testing.assert_close(result.loss, torch.tensor([0.08, 0.045, 0.405]))
    assert result.clipped.tolist() == [False, True, False]
    result.loss.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([-0.4, 0.0, -0.9]))
    plain = clipped_value_loss(values, torch.full((3,), 0.5), torch.ones(3))
    torch.testing.assert_close(plain.loss, torch.tensor([0.08, 0.005, 0.405]))


def test_rounding_is_no_clip_of_a_value() -> None:
    generator = torch.Generator().manual_seed(0)
    old, values = torch.randn(2, 1000, generator=generator).unbind()
    near = old + (values - old)
    assert bool(((near - 0.3) ** 2 > (values - 0.3) ** 2).any())  # what would be taken for clips
    assert not clipped_value_loss(values, old, torch.full((1000,), 0.3), clip=20.0).clipped.any()


@pytest.mark.parametrize(
    ("estimator", "value"),
    # logp = log 0.5, ref = log 0.25: d = log 2 = 0.6931. k1 = d; k2 = d²/2 = 0.2402; k3 = e^-d - 1 + d = 0.1931.
    [("k1", 0.693147), ("k2", 0.240227), ("k3", 0.193147)],
)
def test_kl_estimators_by_hand(estimator: str, value: float) -> None:
    estimate = kl_penalty(torch.tensor([0.5]).log(), torch.tensor([0.25]).log(), estimator)  # type: ignore[arg-type]
    torch.testing.assert_close(estimate, torch.tensor([value]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_defect_05_kl_pulls_towards_the_reference(estimator: str) -> None:
    # Over the whole distribution, so that the expectation is exact: descending the penalty shrinks KL(policy || ref).
    reference = torch.tensor([0.5, 0.3, 0.2])
    logits = torch.tensor([2.0, 0.0, -1.0], requires_grad=True)

    def divergence() -> float:
        logprobs = logits.detach().log_softmax(-1)
        return float((logprobs.exp() * (logprobs - reference.log())).sum())

    before = divergence()
    for _ in range(200):
        logprobs = logits.log_softmax(-1)
        penalty = (logprobs.detach().exp() * kl_penalty(logprobs, reference.log(), estimator)).sum()  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(penalty, logits)
        logits = (logits - 0.5 * gradient).detach().requires_grad_()
    assert divergence() < 0.01 * before


def test_the_gradient_of_k3_is_in_expectation_that_of_the_other_kl() -> None:
    reference = torch.tensor([0.5, 0.3, 0.2]).log()
    logits = torch.tensor([2.0, 0.0, -1.0], requires_grad=True)
    logprobs = logits.log_softmax(-1)
    sampled = (logprobs.detach().exp() * kl_penalty(logprobs, reference, "k3")).sum()
    exact = (reference.exp() * (reference - logprobs)).sum()
    torch.testing.assert_close(
        torch.autograd.grad(sampled, logits, retain_graph=True), torch.autograd.grad(exact, logits)
    )


@pytest.mark.parametrize("estimator", ["k1", "k2"])
def test_the_gradient_of_k1_and_k2_is_in_expectation_that_of_the_kl(estimator: str) -> None:
    reference = torch.tensor([0.5, 0.3, 0.2]).log()
    logits = torch.tensor([2.0, 0.0, -1.0], requires_grad=True)
    logprobs = logits.log_softmax(-1)
    sampled = (logprobs.detach().exp() * kl_penalty(logprobs, reference, estimator)).sum()  # type: ignore[arg-type]
    exact = (logprobs.exp() * (logprobs - reference)).sum()
    torch.testing.assert_close(
        torch.autograd.grad(sampled, logits, retain_graph=True), torch.autograd.grad(exact, logits)
    )


def test_token_weights_state_their_denominator() -> None:
    lengths = torch.tensor([3, 1])
    # token_mean: 1/4 each. sequence_mean: 1/(2·3) and 1/(2·1). constant: 1/2 each, whatever the lengths.
    torch.testing.assert_close(token_weights(lengths, "token_mean"), torch.tensor([0.25, 0.25]))
    torch.testing.assert_close(token_weights(lengths, "sequence_mean"), torch.tensor([1 / 6, 1 / 2]))
    torch.testing.assert_close(token_weights(lengths, "constant"), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(token_weights(torch.tensor([30, 1]), "constant"), torch.tensor([0.5, 0.5]))


ROWS = torch.tensor([0, 0, 2, 2, 2])  # the second episode wrote nothing


def test_a_ratio_of_the_whole_episode_is_the_geometric_mean_of_its_tokens() -> None:
    # Episode 0: ratios 2 and 8, s = sqrt(16) = 4. Episode 2: 1/2, 1/2 and 32, s = 8^(1/3) = 2.
    ratios = torch.tensor([2.0, 8.0, 0.5, 0.5, 32.0])
    old = torch.tensor([-1.0, -2.0, -3.0, -1.5, -4.0])
    logprobs = (old + ratios.log()).requires_grad_()
    expected = torch.tensor([4.0, 4.0, 2.0, 2.0, 2.0])
    for importance in ("sequence", "sequence_token"):
        found = importance_log_ratio(logprobs, old, importance, rows=ROWS).exp()  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(importance_log_ratio(logprobs, old).exp(), ratios)
    # d log s/dlogp of each token is 1/|y|: (1 + 3)/2 and (1 + 1 + 4)/3. GSPO-token leaves each weight to its own token.
    weights = torch.tensor([1.0, 3.0, 1.0, 1.0, 4.0])
    (whole,) = torch.autograd.grad(
        (weights * importance_log_ratio(logprobs, old, "sequence", rows=ROWS)).sum(), logprobs
    )
    torch.testing.assert_close(whole, torch.tensor([2.0, 2.0, 2.0, 2.0, 2.0]))
    own = (weights * importance_log_ratio(logprobs, old, "sequence_token", rows=ROWS)).sum()
    torch.testing.assert_close(torch.autograd.grad(own, logprobs), (weights,))


def test_gspo_clips_whole_episodes() -> None:
    # s = 4 and 2 as above, clip 0.2 and 2 (so at most 3), advantage 1:
    #  episode 0: -min(4, 3) = -3 a token, no gradient; episode 2: -2 a token, gradient -s/|y| from each of |y| tokens.
    old = torch.zeros(5)
    logprobs = torch.tensor([2.0, 8.0, 0.5, 0.5, 32.0]).log().requires_grad_()
    for importance in ("sequence", "sequence_token"):
        result = clipped_surrogate(
            logprobs,
            old,
            torch.ones(5),
            clip_low=0.2,
            clip_high=2.0,
            importance=importance,
            rows=ROWS,  # type: ignore[arg-type]
        )
        torch.testing.assert_close(result.loss, torch.tensor([-3.0, -3.0, -2.0, -2.0, -2.0]))
        torch.testing.assert_close(result.ratio, torch.tensor([4.0, 4.0, 2.0, 2.0, 2.0]))
        assert result.clipped.tolist() == [True, True, False, False, False]
        (gradient,) = torch.autograd.grad(result.loss.sum(), logprobs)
        torch.testing.assert_close(gradient, torch.tensor([0.0, 0.0, -2.0, -2.0, -2.0]))


def test_the_correction_for_the_sampler_is_capped_and_has_no_gradient() -> None:
    # Learner 0.2, 0.9, 0.3; sampler 0.4, 0.3, 0.3: factors 0.5, 3 (capped to 2), 1.
    learner = torch.tensor([0.2, 0.9, 0.3]).log().requires_grad_()
    weights = sampler_correction(learner, torch.tensor([0.4, 0.3, 0.3]).log(), cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([0.5, 2.0, 1.0]))
    assert not weights.requires_grad


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_defect_14_an_uneven_last_part_weighs_by_what_it_holds(aggregation: str) -> None:
    # Losses of 5 episodes, constant within each, as if split 2 + 2 + 1: with token_mean the whole is
    # (2·1 + 3·2 + 1·3 + 4·4 + 10·5) / 20 = 3.85; with sequence_mean it is (1 + 2 + 3 + 4 + 5) / 5 = 3.
    lengths, losses = torch.tensor([2, 3, 1, 4, 10]), torch.tensor([1.0, 2, 3, 4, 5])
    weights = token_weights(lengths, aggregation)  # type: ignore[arg-type]
    parts = [sum(float(weights[i] * lengths[i] * losses[i]) for i in part) for part in ((0, 1), (2, 3), (4,))]
    assert sum(parts) == pytest.approx({"token_mean": 3.85, "sequence_mean": 3.0}[aggregation])


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="k4"):
        kl_penalty(torch.zeros(1), torch.zeros(1), "k4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="token_sum"):
        token_weights(torch.ones(1), "token_sum")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="episode"):
        importance_log_ratio(torch.zeros(1), torch.zeros(1), "episode")  # type: ignore[arg-type]
