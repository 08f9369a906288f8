import numpy as np
import pytest
from scipy import stats

from benchmarks.leaderboard.intervals import acceleration, bootstrap_means, interval_of, macro_interval, mean_interval


def rng(seed=0):
    return np.random.default_rng(seed)


def test_resampled_means_have_the_bootstraps_own_mean_and_spread():
    # Of [0, 0, 1, 3] the mean is 1 and the variance (1 + 1 + 0 + 4) / 4 = 1.5; a mean of 4 draws has 1.5 / 4 = 0.375.
    means = bootstrap_means([0.0, 0.0, 1.0, 3.0], rng(), num_samples=200_000, share=False)
    assert means.mean() == pytest.approx(1.0, abs=0.01)
    assert means.var() == pytest.approx(0.375, rel=0.02)


def test_drawing_counts_of_equal_scores_is_drawing_scores():
    scores = np.repeat([0.0, 0.25, 1.0], [60, 30, 10])  # three distinct scores: drawn as counts
    apart = scores + np.arange(100) * 1e-12  # a hundred: drawn one by one
    counted, one_by_one = (bootstrap_means(each, rng(1), num_samples=20_000) for each in (scores, apart))
    assert stats.ks_2samp(counted, one_by_one.round(6)).pvalue > 0.001
    assert np.quantile(counted, 0.025) == pytest.approx(np.quantile(one_by_one, 0.025), abs=0.006)


def test_the_interval_is_scipys():
    scores = (rng(2).random(400) < 0.3).astype(float)
    mean, (low, high) = mean_interval(scores, num_samples=20_000)
    theirs = stats.bootstrap((scores,), np.mean, method="BCa", n_resamples=20_000, rng=rng(3)).confidence_interval
    assert mean == scores.mean()
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_equal_seeds_give_equal_intervals_and_others_others():
    scores = [1.0] * 30 + [0.0] * 70
    assert mean_interval(scores, seed=5) == mean_interval(scores, seed=5)
    assert mean_interval(scores, seed=5) != mean_interval(scores, seed=6)


@pytest.mark.parametrize(("p", "n"), [(0.3, 125), (0.02, 200), (0.9, 125), (0.004, 125)])
def test_95_of_100_intervals_hold_the_truth(p, n):
    draws = rng(4)
    # The interval depends on the number of successes alone, so each is made once.
    made = {}
    inside = 0
    for successes in draws.binomial(n, p, size=2_000).tolist():
        if successes not in made:
            made[successes] = mean_interval([1.0] * successes + [0.0] * (n - successes))[1]
        low, high = made[successes]
        inside += low <= p <= high
    # Plain percentiles hold 0.908 for the second; a share of a few questions can't be held in exactly 95 of 100.
    assert inside / 2_000 >= 0.93


def test_none_right_is_no_certainty():
    # Jeffreys' posterior Beta(1/2, n + 1/2): of 125 none right, 97.5 % lies below 0.0199.
    mean, (low, high) = mean_interval([0.0] * 125, num_samples=100_000)
    assert (mean, low) == (0.0, 0.0)
    assert high == pytest.approx(stats.beta.ppf(0.975, 0.5, 125.5), rel=0.03)
    mean, (low, high) = mean_interval([1.0] * 125, num_samples=100_000)
    assert (mean, high) == (1.0, 1.0)
    assert low == pytest.approx(1 - stats.beta.ppf(0.975, 0.5, 125.5), rel=0.001)


def test_what_is_no_share_may_be_certain():
    assert mean_interval([1.0] * 10, share=False) == (1.0, [1.0, 1.0])
    assert mean_interval([0.5] * 10) == (0.5, [0.5, 0.5])


def test_an_average_over_sets_weighs_sets_alike():
    # Means 0.5 and 0.1 average to 0.3 whatever the sizes. Its variance is (0.25 / 100 + 0.09 / 1000) / 4 = 0.0006475,
    # so the half width is about 1.96 · 0.02545 = 0.0499.
    sets = [[1.0] * 50 + [0.0] * 50, [1.0] * 100 + [0.0] * 900]
    mean, (low, high) = macro_interval(sets, num_samples=50_000)
    assert mean == pytest.approx(0.3)
    assert (high - low) / 2 == pytest.approx(0.0499, rel=0.03)


def test_sets_of_equal_content_are_drawn_apart():
    # Two sets that share their draws would give an interval as wide as one set's; apart, it is narrower by √2.
    one = [1.0] * 50 + [0.0] * 50
    alone = macro_interval([one], num_samples=50_000)[1]
    both = macro_interval([one, one], num_samples=50_000)[1]
    assert (alone[1] - alone[0]) / (both[1] - both[0]) == pytest.approx(2**0.5, rel=0.05)


def test_nothing_has_no_interval():
    assert mean_interval([]) is None
    assert macro_interval([]) is None
    assert macro_interval([[1.0], []]) is None


def test_an_interval_holds_its_estimate():
    assert interval_of(np.array([0.2, 0.3]), 0.1)[0] == 0.1
    assert interval_of(np.array([0.2, 0.3]), 0.4)[1] == 0.4


def test_the_interval_is_moved_by_the_skew():
    # One of ten right: the mean is 0.1, and u is 0.09 once and -0.01 nine times. Σu² = 0.0081 + 0.0009 = 0.009 and
    # Σu³ = 0.000729 - 0.000009 = 0.00072, so a = 0.00072 / (6 · 0.009 ** 1.5) = 0.14055.
    scores = np.array([1.0] + [0.0] * 9)
    assert acceleration([scores]) == pytest.approx(0.14055, abs=1e-5)
    assert acceleration([1 - scores]) == pytest.approx(-0.14055, abs=1e-5)
    assert acceleration([np.zeros(3)]) == 0.0
    means = np.linspace(0, 1, 10_001)
    assert interval_of(means, 0.5) == pytest.approx([0.025, 0.975])
    # The lower end: z = 0.14055 - 1.95996 = -1.81941; Φ(0.14055 - 1.81941 / (1 + 0.14055 · 1.81941)) = Φ(-1.30844)
    assert interval_of(means, 0.5, skew=0.14055)[0] == pytest.approx(stats.norm.cdf(-1.30844), abs=2e-4)
