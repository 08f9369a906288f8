from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.tuning.gating.simulators import (
    CAPITALS,
    PLACES,
    Write,
    held_out_cases,
    leaking,
    measured_by,
    place_of,
    well,
)
from zs_env.errors import ConfigError
from zs_env.tuning.gating.figures import compare, contender_figures
from zs_env.tuning.gating.rules import GateRules, check_rules, is_accepted
from zs_env.types import SearchRequest


def verdicts(folder: Path, candidate: Write, reference: Write = leaking, **rules: Any) -> dict[str, bool | None]:
    one, other = measured_by(held_out_cases(folder), candidate, reference)
    rows = check_rules(GateRules(**rules), contender_figures(one), compare(one, other))
    assert is_accepted(rows) == all(row["met"] for row in rows)
    return {row["name"]: row["met"] for row in rows}


def missed(folder: Path, candidate: Write, reference: Write = leaking, **rules: Any) -> list[str]:
    return [name for name, met in verdicts(folder, candidate, reference, **rules).items() if met is not True]


def test_a_simulator_that_does_well_meets_every_rule(tmp_path: Path) -> None:
    met = verdicts(tmp_path, well)
    assert met == dict.fromkeys(met, True)
    assert len(met) == 12


def test_one_that_is_no_better_than_the_prompted_model_is_refused(tmp_path: Path) -> None:
    assert missed(tmp_path, leaking) == ["min_separation_gain", "min_noisy_free"]
    # As good as a prompted model that does well is not better than it.
    assert missed(tmp_path, well, well) == ["min_separation_gain"]
    assert missed(tmp_path, leaking, well) == ["min_separation_gain", "min_noisy_free", "min_noisy_free_gain"]


def test_noise_for_every_search_separates_nothing(tmp_path: Path) -> None:
    def only_noise(request: SearchRequest) -> list[str]:
        return [f"{place_of(request)} has {PLACES.index(place_of(request))} {request.quality} capital parks."]

    assert missed(tmp_path, only_noise) == ["min_separation_gain", "min_useful_holding", "min_documents"]


def test_useful_documents_that_stray_as_far_as_noise_does(tmp_path: Path) -> None:
    def wandering(request: SearchRequest) -> list[str]:
        answer = request.question.golden_answers[0] if request.quality == "useful" else "nobody"
        far = (
            "Cats and dogs and birds sleep in the shade of old ovens near tall walls while rain falls over quiet hills"
        )
        return [f"{far} {request.seed % 9973 + n} with {answer}." for n in range(2)]

    assert "min_useful_similarity" in missed(tmp_path, wandering)


def test_noise_off_the_topic(tmp_path: Path) -> None:
    def wandering(request: SearchRequest) -> list[str]:
        if request.quality == "useful":
            return well(request)
        return [f"Cats number {request.seed % 9973} sleep near {request.seed % 9967} ovens {n}." for n in range(2)]

    assert missed(tmp_path, wandering) == ["min_similarity_ratio"]


def test_repeats_within_a_search_and_across_questions(tmp_path: Path) -> None:
    def twice(request: SearchRequest) -> list[str]:
        return [well(request)[0]] * 2

    assert missed(tmp_path, twice) == ["max_repeated"]

    def alike(request: SearchRequest) -> list[str]:
        same = "It is said that in the capital of the country many roads meet near an old river port."
        return [well(request)[0], same]

    assert missed(tmp_path, alike) == ["max_repeated_elsewhere"]


def test_the_query_said_back_is_no_noise(tmp_path: Path) -> None:
    def copying(request: SearchRequest) -> list[str]:
        if request.quality == "useful":
            return well(request)
        return [request.query, " ".join(reversed(request.query.split()))]

    assert missed(tmp_path, copying) == ["max_said_back"]


def test_names_alone_are_no_documents(tmp_path: Path) -> None:
    def naming(request: SearchRequest) -> list[str]:
        place = place_of(request)
        if request.quality == "useful":
            return [f"{place} {CAPITALS[place]}", CAPITALS[place]]
        return [place, f"capital {place} {PLACES.index(place)}"]

    assert missed(tmp_path, naming) == ["max_short"]


def test_what_failed_counts_against_the_simulator(tmp_path: Path) -> None:
    def failing(request: SearchRequest) -> list[str] | None:
        return None if PLACES.index(place_of(request)) % 2 else well(request)

    # Half of all searches: they hold nothing, and aren't free of an answer either.
    assert missed(tmp_path, failing) == [
        "min_separation_gain",
        "min_noisy_free",
        "min_useful_holding",
        "min_documents",
    ]

    # A prompted model that fails is no reason to accept: what it failed at isn't compared.
    def failing_mostly(request: SearchRequest) -> list[str] | None:
        return None if PLACES.index(place_of(request)) % 4 else leaking(request)

    assert missed(tmp_path, well, failing_mostly) == ["min_questions"]


def test_too_few_questions_tell_nothing(tmp_path: Path) -> None:
    assert missed(tmp_path, well, min_questions=25) == ["min_questions"]


def test_learnt_by_heart(tmp_path: Path) -> None:
    one, other = measured_by(held_out_cases(tmp_path), well, leaking)
    known = [f"Doc 1: The capital of {place} is {CAPITALS[place]}, as {PLACES.index(place)} maps say." for place in PLACES[:6]]  # fmt: skip  # noqa: E501
    figures = contender_figures(one, known)
    assert (figures["memorised"]["hits"], figures["memorised"]["n"]) == (6, 4 * len(PLACES))
    rows = check_rules(GateRules(max_memorised=0.05), figures, compare(one, other))
    assert [row["name"] for row in rows if not row["met"]] == ["max_memorised"]
    assert contender_figures(one)["memorised"]["value"] is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_noisy_free": 1.5}, r"min_noisy_free must be in \[0, 1\]; got 1.5"),
        ({"min_separation_gain": float("nan")}, "min_separation_gain must be a finite number"),
        ({"min_questions": 1}, "min_questions must be a whole number of at least 2"),
        ({"max_repeated": True}, "max_repeated must be a finite number"),
    ],
)
def test_rules_that_cant_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GateRules(**given)
