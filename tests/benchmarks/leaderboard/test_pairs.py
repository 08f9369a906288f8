import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.leaderboard.pairs import MACRO, Scores, mcnemar_p, paired_by_set, paired_test
from tests.benchmarks.leaderboard.making import an_episode, renamed
from zs_env.errors import ConfigError


def row(answers, **given):
    """Episodes that are right where the text has an x."""
    return [an_episode(index, "Ada" if right == "x" else "Bob", **given) for index, right in enumerate(answers)]


def test_the_difference_is_that_of_pairs():
    # Six questions only the first got right, one only the second: p = 2 · (C(7,0) + C(7,1)) / 2**7 = 16 / 128.
    told = paired_test(row("xxxxxx.xx."), row("......xxx."))
    assert told["difference"] == pytest.approx(0.5)
    assert (told["n"], told["only_first"], told["only_second"]) == (10, 6, 1)
    assert told["p"] == 0.125
    assert told["test"] == "mcnemar"
    low, high = told["ci"]
    assert -0.1 <= low < 0.5 < high <= 1.0


def test_turned_round_it_is_the_same_with_another_sign():
    first, second = row("xxxx.x..xx" * 5), row("x..x.xx..." * 5)
    one, other = paired_test(first, second), paired_test(second, first)
    assert one["difference"] == -other["difference"]
    assert one["p"] == other["p"]
    assert one["only_first"] == other["only_second"]


@pytest.mark.parametrize(
    ("b", "c"), [(0, 0), (1, 0), (5, 5), (6, 5), (0, 12), (3, 17), (40, 80), (700, 900), (5_000, 4_700)]
)
def test_p_is_the_exact_binomial_test(b, c):
    wanted = stats.binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert mcnemar_p(b, c) == pytest.approx(wanted, rel=1e-9)
    assert mcnemar_p(b, c) == mcnemar_p(c, b)


def test_the_sign_flip_test_is_near_the_exact_one():
    # F1 differences of three pairs, all on one side: of the 8 ways of signs, 2 are as far from 0, so p is 1/4.
    first = [replace(each, f1=score) for each, score in zip(row("..."), (0.9, 0.5, 0.7), strict=True)]
    told = paired_test(first, row("..."), "f1")
    assert told["test"] == "sign-flip"
    assert told["p"] == pytest.approx(0.25, abs=0.02)
    assert told["difference"] == pytest.approx(0.7)


@pytest.mark.parametrize("num_sizes", [5, 400])
def test_p_of_many_sizes_is_scipys(num_sizes):
    draws = np.random.default_rng(0)
    scores = draws.integers(0, num_sizes, size=(2, 200)) / num_sizes
    scores[0] = np.clip(scores[0] + 0.04, 0, 1)
    first, second = (
        [replace(each, f1=float(s)) for each, s in zip(row("." * 200), side, strict=True)] for side in scores
    )
    theirs = stats.permutation_test(
        tuple(scores), lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples", rng=1, n_resamples=20_000
    )
    assert 0.001 < theirs.pvalue < 0.999
    assert paired_test(first, second, "f1")["p"] == pytest.approx(theirs.pvalue, abs=0.02)


def test_p_is_small_no_more_often_than_it_says():
    draws = np.random.default_rng(1)
    ps = [
        paired_test(*(row(["x."[int(v)] for v in side]) for side in draws.random((2, 40)) < 0.5))["p"]
        for _ in range(300)
    ]
    assert np.mean(np.array(ps) <= 0.05) <= 0.07  # the exact test is cautious


def test_the_interval_holds_the_true_difference():
    draws, inside = np.random.default_rng(2), 0
    for _ in range(200):
        shared, own = draws.random(120), draws.random((2, 120))
        first, second = (np.where(shared < 0.5, own[side] < p, shared < 0.7) for side, p in ((0, 0.6), (1, 0.4)))
        low, high = paired_test(*(row(["x."[int(not v)] for v in side]) for side in (first, second)))["ci"]
        inside += low <= 0.1 <= high  # half of the questions are alike, the others differ by 0.2
    assert 0.90 <= inside / 200 <= 0.99


def test_rows_that_no_question_tells_apart_may_differ_still():
    told = paired_test(row("xx.." * 10), row("xx.." * 10))
    assert (told["difference"], told["p"], told["only_first"]) == (0.0, 1.0, 0)
    low, high = told["ci"]
    assert -0.15 < low < 0 < high < 0.15


def test_what_failed_for_one_is_left_out_of_both():
    first = row("xx.")
    second = [replace(first[0], status="search_failed"), *first[1:]]
    assert paired_test(first, second)["n"] == 2
    assert paired_test(first, second[1:])["n"] == 2  # as what wasn't played
    judged = [replace(each, judged=True) for each in first[:1]] + first[1:]
    assert paired_test(judged, judged, "judged")["n"] == 1


def test_no_pairs_have_no_difference():
    failed = [replace(each, status="failed") for each in row("x.")]
    told = paired_test(failed, row("x."))
    assert (told["n"], told["difference"], told["ci"], told["p"]) == (0, None, None, None)
    assert paired_test([], [])["n"] == 0


def test_the_average_over_sets_weighs_sets_alike():
    first = [*row("xx"), *renamed(row("x" * 10), "others")]
    second = [*row(".."), *renamed(row("x" * 10), "others")]
    told = paired_by_set(first, second)
    assert list(told) == ["people", "others", MACRO]
    assert told["people"]["difference"] == 1.0
    assert told["others"]["difference"] == 0.0
    assert told[MACRO]["difference"] == 0.5  # of all twelve questions it would be a sixth
    assert told[MACRO]["n"] == 12
    # Two signs to flip, of which both or none must be as seen: 2 of 4 ways.
    assert told[MACRO]["p"] == pytest.approx(0.5, abs=0.02)
    assert paired_test(first, second) == told[MACRO]


def test_sets_of_one_size_are_drawn_apart():
    sets = {name: (renamed(row("x.x.x.....x" * 20), name), renamed(row(".x...xx.x.." * 20), name)) for name in "ab"}
    told = paired_by_set(*(list(itertools.chain(*(sets[name][side] for name in "ab"))) for side in (0, 1)))
    widths = {name: each["ci"][1] - each["ci"][0] for name, each in told.items()}
    assert widths["a"] / widths[MACRO] == pytest.approx(2**0.5, rel=0.15)


def test_scores_that_were_read_once_give_the_same():
    first, second = row("xx.x" * 8), row(".x.." * 8)
    assert paired_by_set(Scores.of(first), Scores.of(second)) == paired_by_set(first, second)
    assert paired_by_set(list(reversed(first)), second) == paired_by_set(first, second)


def test_other_questions_are_refused():
    first = row("xx")
    with pytest.raises(ConfigError, match=r"Question 1 of the set 'people' is 'q1' for the one and 'q9'"):
        paired_test(first, [first[0], replace(first[1], question_id="q9")])
    with pytest.raises(ConfigError, match="other sets, people and others"):
        paired_test(first, renamed(first, "others"))
    with pytest.raises(ConfigError, match="Question 0 of the set 'people' is there twice"):
        Scores.of([first[0], first[0]])
    with pytest.raises(ConfigError, match="'em' can't be compared with those of 'f1'"):
        paired_test(Scores.of(first), Scores.of(first, "f1"))


def test_a_few_questions_that_all_say_the_same_are_no_certainty():
    # Three of three questions only the first got right: p = 2 / 2**3, and so the interval can't be [1, 1].
    told, turned = paired_test(row("xxx"), row("...")), paired_test(row("..."), row("xxx"))
    assert (told["difference"], told["p"]) == (1.0, pytest.approx(0.25))
    assert 0.3 < told["ci"][0] < 0.8
    assert told["ci"][1] == 1.0
    assert turned["ci"][1] == pytest.approx(-told["ci"][0])
    many = paired_test(row("x" * 300), row("." * 300))
    assert many["ci"][0] > 0.98
