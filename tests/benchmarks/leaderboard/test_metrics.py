import json
from dataclasses import replace

import pytest

from benchmarks.leaderboard.metrics import SCORES, macro, measure_set, score_of
from tests.benchmarks.leaderboard.making import an_episode, renamed, search


def test_scores_are_means_over_the_episodes_that_count():
    episodes = [
        an_episode(0, "Ada"),
        an_episode(1, "Ada Lovelace"),  # contains it; F1 is 2 · 1 · 0.5 / 1.5
        an_episode(2, None),
        an_episode(3, "Bob"),
        an_episode(4, None, status="failed", error="gone"),
    ]
    figures = measure_set(episodes)
    assert (figures["n"], figures["num_failed"]) == (4, 1)
    assert figures["em"]["value"] == 0.25
    assert figures["f1"]["value"] == pytest.approx((1 + 2 / 3) / 4)
    assert figures["containment"] == {"value": 0.5, "ci": figures["containment"]["ci"], "n": 4}
    assert figures["unanswered"] == 0.25
    assert figures["judged"] is None
    assert figures["cost"] is None
    assert all(
        low <= each["value"] <= high for key in ("em", "f1") for each in [figures[key]] for low, high in [each["ci"]]
    )
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_containment_leaves_yes_and_no_out_and_says_how_many_count():
    episodes = [
        an_episode(0, "Ada"),
        an_episode(1, "Yes, it is", golden_answers=("yes",)),
        an_episode(2, "No", golden_answers=("No.",)),
    ]
    assert measure_set(episodes)["containment"]["n"] == 1
    assert measure_set(episodes)["em"]["n"] == 3
    assert measure_set(episodes[1:])["containment"] is None


def test_a_judge_without_a_verdict_counts_neither_way():
    episodes = [an_episode(0, judged=True), an_episode(1, judged=False), an_episode(2, judged=None)]
    assert measure_set(episodes)["judged"]["value"] == 0.5
    assert measure_set(episodes)["judged"]["n"] == 2


def test_what_was_spent_is_a_mean_a_question():
    episodes = [
        an_episode(
            0, num_turns=3, num_invalid=1, prompt_tokens=10, completion_tokens=4, seconds=1.0, search_seconds=0.5
        ),
        an_episode(1, num_turns=1, num_invalid=0, prompt_tokens=30, completion_tokens=6, seconds=3.0),
    ]
    figures = measure_set(episodes, costs={("people", 0): 0.5, ("people", 1): 1.5})
    assert figures["invalid"] == 0.25  # of actions, not of questions
    assert (figures["prompt_tokens"], figures["completion_tokens"], figures["search_seconds"]) == (20, 5, 0.25)
    assert figures["seconds"] == {"mean": 2.0, "p50": 2.0, "p95": pytest.approx(2.9)}
    assert figures["cost"]["value"] == 1.0


def test_searches_say_what_was_asked_for_and_shown():
    episodes = [
        an_episode(
            0, searches=[search(quality="noisy", contains_golden=False), search(error="gone", contains_golden=False)]
        ),
        an_episode(1, searches=[search(), search(route="real", quality="noisy")]),
        an_episode(2, "yes", golden_answers=("yes",), searches=[search(contains_golden=True)]),
    ]
    figures = measure_set(episodes)
    assert figures["searches"] == pytest.approx(4 / 3)
    assert figures["noisy_share"] == pytest.approx(1 / 3)  # the failed one and the real side's are left out
    assert figures["golden_shown"] == pytest.approx(2 / 3)  # so is the one about yes or no
    assert measure_set([an_episode(0)])["noisy_share"] is None


def test_nothing_played_has_no_figures():
    figures = measure_set([an_episode(0, None, status="failed")])
    assert (figures["n"], figures["num_failed"]) == (0, 1)
    assert all(figures[key] is None for key in (*SCORES, "unanswered", "invalid", "searches", "seconds", "noisy_share"))
    assert set(figures) == set(measure_set([an_episode(0)]))


def test_an_average_over_sets_weighs_sets_alike():
    small = [an_episode(0, "Ada", seconds=1.0), an_episode(1, "Bob", seconds=1.0)]
    large = renamed([an_episode(index, "Bob", seconds=2.0) for index in range(8)], "others")
    figures = macro({"people": small, "others": large})
    assert figures["em"]["value"] == 0.25  # (1/2 + 0/8) / 2, not 1/10
    assert (figures["n"], figures["em"]["n"]) == (10, 10)
    assert figures["seconds"] == {"mean": 1.5, "p50": 2.0, "p95": 2.0}
    assert set(figures) == set(measure_set(small))


def test_an_average_lacks_what_one_set_lacks():
    played, failed = [an_episode(0)], renamed([an_episode(0, None, status="failed")], "others")
    figures = macro({"people": played, "others": failed})
    assert (figures["n"], figures["num_failed"]) == (1, 1)
    assert figures["em"] is None
    assert figures["searches"] is None
    assert figures["seconds"] is None
    assert macro({})["em"] is None


def test_one_sets_average_is_its_own():
    episodes = [an_episode(index, "Ada" if index % 3 else "Bob", seconds=float(index)) for index in range(30)]
    assert macro({"people": episodes}) == measure_set(episodes)


def test_there_are_no_other_scores():
    with pytest.raises(ValueError, match=r"'accuracy'.*em, f1"):
        score_of(an_episode(0), "accuracy")
    assert score_of(replace(an_episode(0), judged=True), "judged") == 1.0
