import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.engines.decoys import make_decoy, make_name
from zs_env.engines.draws import Draws, mix


def decoys(answer, size=200):
    return [make_decoy(answer, Draws(seed)) for seed in range(size)]


@pytest.mark.parametrize(
    ("answer", "shape"),
    [
        ("1989", r"(19|20)\d\d"),
        ("42", r"\d\d"),
        ("3,677 seats", r"(\d,\d{3} \w+)"),
        ("42.195", r"\d\d\.\d{3}"),
        ("14 December 1972", r"\d\d? [A-Z]\w+ 19\d\d"),
        ("July 20, 1969", r"[A-Z]\w+ \d\d?, 19\d\d"),
        ("Bobby Scott", r"[A-Z]\w+ [A-Z]\w+"),
        ("Greenwich Village, New York City", r"[A-Z]\w+ [A-Z]\w+, [A-Z]\w+ [A-Z]\w+ [A-Z]\w+"),
        ("Chief of Protocol", r"[A-Z]\w+ of [A-Z]\w+"),
        ("NASA", r"[A-Z]{4}"),
        ("Henry VIII", r"[A-Z]\w+ [IVX]+"),
        ("four", r"[a-z]+"),
        ("北京", r"\w\w"),
        ("yes", "no|unclear"),
        ("No", "Yes|Unclear"),
        ("the", r"[A-Z]\w+"),
    ],
)
def test_decoys_keep_the_shape_and_change_something(answer, shape):
    for decoy in decoys(answer):
        assert re.fullmatch(shape, decoy), decoy
        assert decoy != answer


def test_years_stay_near():
    assert all(abs(int(decoy) - 1989) <= 12 for decoy in decoys("1989"))


def test_months_become_other_months():
    months = {decoy.split()[0] for decoy in decoys("July 1969")} - {"July"}
    assert len(months) == 11
    assert {"January", "May", "December"} < months


def test_decoys_are_many():
    assert len(set(decoys("Jane Austen"))) > 150
    assert len({make_name(Draws(seed)) for seed in range(500)}) > 400


@given(st.text(st.characters(), max_size=60), st.integers(0, 2**63 - 1))
def test_any_text_has_a_decoy(answer, seed):
    assert make_decoy(answer, Draws(seed)) == make_decoy(answer, Draws(seed))


def test_draws_are_even():
    for counts in (
        [sum(mix(seed) % 5 == rest for seed in range(10_000)) for rest in range(5)],
        [sum(Draws(seed).below(5) == rest for seed in range(10_000)) for rest in range(5)],
    ):
        assert all(abs(count - 2_000) < 200 for count in counts), counts


def test_shuffling_keeps_the_items():
    assert sorted(Draws(3).shuffle(list(range(10)))) == list(range(10))
    firsts = [Draws(seed).shuffle(list(range(4)))[0] for seed in range(4_000)]
    assert all(abs(firsts.count(i) - 1_000) < 150 for i in range(4))
