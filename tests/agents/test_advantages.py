import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.advantages import (
    baselines,
    generalized_advantages,
    group_advantages,
    overlong_penalty,
    returns_to_go,
    token_rewards,
    whiten,
)
from zs_env.errors import ConfigError


def test_defect_21_the_std_convention_has_a_name() -> None:
    rewards, groups = torch.tensor([1.0, 0, 0, 0]), torch.zeros(4, dtype=torch.long)
    # Mean 1/4. Squares: (3/4)² + 3·(1/4)² = 3/4. Sample: sqrt(3/4 / 3) = 1/2. Population: sqrt(3/4 / 4) = 0.4330.
    for std, winner, loser in (("sample", 1.5, -0.5), ("population", 1.7320, -0.5773), ("none", 0.75, -0.25)):
        advantages = group_advantages(rewards, groups, std=std).advantages  # type: ignore[arg-type]
        torch.testing.assert_close(advantages, torch.tensor([winner, loser, loser, loser]), atol=2e-4, rtol=0)


def test_defect_21_a_group_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at least two.*\[5\]"):
        group_advantages(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([3, 3, 5]))


def test_groups_may_differ_in_size_and_order() -> None:
    # Group 9 has rewards 1, 0, 0 (mean 1/3, sample std sqrt((4/9 + 1/9 + 1/9) / 2) = 0.57735), group 2 has 1, 1.
    result = group_advantages(torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0]), torch.tensor([9, 2, 9, 2, 9]))
    expected = torch.tensor([1.1547, 0.0, -0.57735, 0.0, -0.57735])
    torch.testing.assert_close(result.advantages, expected, atol=1e-4, rtol=0)
    assert result.zero_variance.tolist() == [False, True, False, True, False]
    assert (result.num_groups, result.num_zero_variance_groups) == (2, 1)


def test_rewards_that_are_equal_give_exactly_zero() -> None:
    # 0.1 + 0.1 + 0.1 is not 3 · 0.1 in binary, so mean and std alone would leave noise divided by noise.
    result = group_advantages(torch.full((3,), 0.1), torch.zeros(3, dtype=torch.long), eps=0.0)
    assert result.advantages.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("rewards", "groups", "std", "message"),
    [
        ([1.0, float("nan")], [0, 0], "sample", "finite"),
        ([1.0, 0.0], [0, 0], "biased", "std must be one of"),
        ([1.0, 0.0], [0, 0, 0], "sample", "must both be"),
    ],
)
def test_wrong_input_is_named(rewards: list[float], groups: list[int], std: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        group_advantages(torch.tensor(rewards), torch.tensor(groups), std=std)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=2, max_size=20), st.randoms())
def test_order_means_nothing(pairs: list[tuple[float, int]], random: object) -> None:
    pairs = pairs + [(0.5, group) for _, group in pairs]  # no group of one
    order = list(range(len(pairs)))
    random.shuffle(order)  # type: ignore[attr-defined]
    rewards = torch.tensor([reward for reward, _ in pairs], dtype=torch.float64)
    groups = torch.tensor([group for _, group in pairs])
    straight = group_advantages(rewards, groups).advantages
    shuffled = group_advantages(rewards[order], groups[order]).advantages
    torch.testing.assert_close(straight[order], shuffled, atol=1e-3, rtol=1e-3)
    for group in groups.unique():
        assert abs(float(straight[groups == group].sum())) < 1e-3


def test_gae_by_hand() -> None:
    # Rewards 0, 0, 1; values 0.2, 0.4, 0.6; γ = 0.9, λ = 0.5, so γλ = 0.45.
    # δ_2 = 1 - 0.6 = 0.4; δ_1 = 0.9·0.6 - 0.4 = 0.14; δ_0 = 0.9·0.4 - 0.2 = 0.16.
    # A_2 = 0.4; A_1 = 0.14 + 0.45·0.4 = 0.32; A_0 = 0.16 + 0.45·0.32 = 0.304.
    rewards, values = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.2, 0.4, 0.6])
    advantages = generalized_advantages(rewards, values, gamma=0.9, lam=0.5)
    torch.testing.assert_close(advantages, torch.tensor([0.304, 0.32, 0.4]))
    # λ = 1, γ = 1: return less value. λ = 0: the one-step error alone.
    torch.testing.assert_close(generalized_advantages(rewards, values), torch.tensor([0.8, 0.6, 0.4]))
    torch.testing.assert_close(generalized_advantages(rewards, values, lam=0.0), torch.tensor([0.2, 0.2, 0.4]))


def test_returns_and_token_rewards_by_hand() -> None:
    # Penalty 0.5·KL = 0.05, -0.1, 0.2 is taken off each token; the last one also has the episode's reward of 1.
    rewards = token_rewards(1.0, 3, torch.tensor([0.1, -0.2, 0.4]), kl_coef=0.5)
    torch.testing.assert_close(rewards, torch.tensor([-0.05, 0.1, 0.8]))
    # γ = 0.5: R_2 = 0.8, R_1 = 0.1 + 0.4 = 0.5, R_0 = -0.05 + 0.25 = 0.2.
    torch.testing.assert_close(returns_to_go(rewards, gamma=0.5), torch.tensor([0.2, 0.5, 0.8]))


@pytest.mark.parametrize(
    ("baseline", "expected"),
    # Groups {1, 0, 0} and {1, 0}. Others' means: 0, 1/2, 1/2 and 0, 1. Means of groups: 1/3 and 1/2. Of all: 2/5.
    [
        ("leave_one_out", [0, 0.5, 0.5, 0, 1]),
        ("group_mean", [1 / 3, 1 / 3, 1 / 3, 0.5, 0.5]),
        ("batch_mean", [0.4] * 5),
        ("none", [0.0] * 5),
    ],
)
def test_baselines_by_hand(baseline: str, expected: list[float]) -> None:
    rewards, groups = torch.tensor([1.0, 0, 0, 1, 0]), torch.tensor([4, 4, 4, 8, 8])
    torch.testing.assert_close(baselines(rewards, groups, baseline), torch.tensor(expected))  # type: ignore[arg-type]


def test_a_leave_one_out_baseline_does_not_know_the_reward_it_is_taken_off() -> None:
    groups = torch.zeros(4, dtype=torch.long)
    low, high = (baselines(torch.tensor([first, 1.0, 0.0, 0.5]), groups) for first in (0.0, 9.0))
    assert low[0] == high[0] == 0.5


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_mean"])
def test_a_leave_one_out_baseline_of_nobody_is_refused(baseline: str) -> None:
    with pytest.raises(ConfigError, match=f"{baseline}.*batch_mean"):
        baselines(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([3, 3, 5]), baseline)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="baseline must be one of"):
        baselines(torch.tensor([1.0]), torch.tensor([3]), "median")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("num_tokens", "penalty"),
    # L_max 100, L_cache 20: nothing to take off up to 80; then (80 - n) / 20; 1 past 100.
    [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (100, -1.0), (101, -1.0), (5000, -1.0)],
)
def test_the_penalty_for_length_grows_over_the_buffer(num_tokens: int, penalty: float) -> None:
    assert overlong_penalty(num_tokens, max_tokens=100, buffer_tokens=20) == pytest.approx(penalty)


def test_the_penalty_for_length_may_have_no_buffer_or_be_off() -> None:
    assert [overlong_penalty(n, max_tokens=100, buffer_tokens=0) for n in (100, 101)] == [0.0, -1.0]
    assert overlong_penalty(10**6, max_tokens=0, buffer_tokens=0) == 0.0


def test_whitening_is_over_all_tokens_of_the_step() -> None:
    # 1, 2, 3 and 6: mean 3, sample variance (4 + 1 + 0 + 9) / 3 = 14/3, std 2.1602.
    parts = whiten([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 6.0])])
    torch.testing.assert_close(torch.cat(parts), torch.tensor([-0.9258, -0.4629, 0.0, 1.3887]), atol=1e-4, rtol=0)
    assert [part.tolist() for part in whiten([torch.tensor([2.0, 2.0]), torch.tensor([2.0])])] == [[0.0, 0.0], [0.0]]
    assert whiten([]) == []
