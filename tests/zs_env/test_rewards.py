from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.errors import ConfigError
from zs_env.rewards import (
    REWARDS,
    Outcome,
    WeightedReward,
    as_words,
    containment_score,
    exact_match_score,
    f1_score,
    make_reward,
    normalize_answer,
)


def outcome(answer: str | None, *golden: str, invalid: int = 0, turns: int = 2) -> Outcome:
    return Outcome(
        answer=answer,
        golden_answers=golden,
        status="out_of_turns" if answer is None else "answered",
        num_turns=turns,
        num_searches=1,
        num_invalid_actions=invalid,
        actions=("",) * turns,
    )


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Eiffel Tower", "eiffel tower"),
        ("  many   spaces\n", "many spaces"),
        ("U.S.", "us"),
        ("well-known", "wellknown"),
        ("1,000", "1000"),
        ("3.5", "35"),
        ("two", "two"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ﬁsh", "fish"),
        ("１２", "12"),
        ("Sa\u0303o Paulo", "são paulo"),
        ("São Paulo", "são paulo"),
        ("«Été» — l’hiver…", "été lhiver"),
        ("「東京」", "東京"),
        ("an apple a day", "apple day"),
        ("theatre", "theatre"),
        ("A", "a"),
        ("The", "the"),
        ("!", "!"),
        ("", ""),
        (" \t", ""),
    ],
)
def test_normalisation_is_as_documented(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@given(st.text(max_size=40))
def test_normalisation_is_idempotent_and_keeps_something(text: str) -> None:
    normal = normalize_answer(text)
    assert normalize_answer(normal) == normal
    assert bool(normal) == bool(text.split())


@given(st.text(min_size=1, max_size=30).filter(lambda text: bool(text.strip())))
def test_every_answer_matches_itself(text: str) -> None:
    assert exact_match_score(text, [text]) == containment_score(text, [text]) == f1_score(text, [text]) == 1.0


def test_defect_03_exact_match_is_not_containment() -> None:
    assert exact_match_score("Canada", ["Ada"]) == 0.0
    assert exact_match_score("it is Paris", ["Paris"]) == 0.0
    assert containment_score("Canada", ["Ada"]) == 0.0
    assert containment_score("it is Paris", ["Paris"]) == 1.0


def test_defect_03_a_gold_that_normalises_to_nothing_is_not_matched_by_everything() -> None:
    assert exact_match_score("anything", ["A"]) == 0.0
    assert exact_match_score("", ["A"]) == 0.0
    assert exact_match_score("a", ["A"]) == 1.0
    assert containment_score("anything at all", ["!"]) == 0.0


def test_any_golden_answer_counts() -> None:
    assert exact_match_score("usa", ["United States", "USA"]) == 1.0


def test_f1_by_hand() -> None:
    # two of two answer tokens and two of three gold tokens agree: 2 * 1 * (2/3) / (1 + 2/3) = 0.8
    assert f1_score("barack obama", ["Barack Hussein Obama"]) == pytest.approx(0.8)
    # repeated tokens count as often as both sides have them: common 1 of 2 and 1 of 1 = 2 * 1 / 3
    assert f1_score("paris paris", ["Paris"]) == pytest.approx(2 / 3)
    assert f1_score("rome", ["Paris"]) == 0.0
    assert f1_score("yes it is", ["yes"]) == 0.0


def test_defect_04_f1_is_not_exact_match() -> None:
    partly = outcome("Barack Obama", "Barack Hussein Obama")
    assert REWARDS["em"](partly) == 0.0
    assert REWARDS["f1"](partly) == pytest.approx(0.8)


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_defect_01_no_answer_scores_nothing(name: str) -> None:
    assert REWARDS[name](outcome(None, "Beijing")) == 0.0


def test_format_is_the_share_of_valid_actions() -> None:
    assert REWARDS["format"](outcome("x", "y", invalid=1, turns=4)) == 0.75


def test_words_are_found_whole_and_nothing_is_found_nowhere() -> None:
    assert as_words("York") in as_words("New York City")
    assert as_words("York") not in as_words("New Yorker")
    assert as_words("") not in as_words("anything else")


def test_weighted_reward_sums() -> None:
    reward = make_reward({"em": 1.0, "format": 0.5})
    assert reward(outcome("Paris", "Paris", invalid=1, turns=2)) == pytest.approx(1.25)


def test_a_callable_is_a_reward() -> None:
    assert make_reward(lambda seen: float(seen.num_searches))(outcome(None, "x")) == 1.0


@pytest.mark.parametrize(
    "bad", ["EM", "", 3, None, ["em"], {}, {"em": math.inf}, {"em": "1"}, {"nope": 1.0}, {"em": True}]
)
def test_bad_rewards_are_refused_with_the_known_names(bad: object) -> None:
    with pytest.raises(ConfigError, match="em"):
        make_reward(bad)  # type: ignore[arg-type]


def test_a_weighted_reward_can_be_compared_and_does_not_share_the_callers_dict() -> None:
    weights = {"em": 1.0}
    reward = make_reward(weights)
    weights["em"] = 5.0
    assert reward == WeightedReward({"em": 1.0})
