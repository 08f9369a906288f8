from __future__ import annotations

from pathlib import Path

import pytest

from tests.zs_env.tuning.gating.simulators import PLACES, ROWS, held_out_cases, leaking, measured_by, well
from zs_env.tuning.gating.figures import compare, contender_figures


def test_separation_by_hand(tmp_path: Path) -> None:
    one, other = measured_by(held_out_cases(tmp_path), well, leaking)
    mine, theirs = contender_figures(one), contender_figures(other)
    assert mine["separation"]["value"] == 1.0
    assert theirs["useful_holding"]["value"] == 1.0
    assert (theirs["noisy_free"]["hits"], theirs["noisy_free"]["n"]) == (4, 24)  # every sixth of 24
    assert theirs["separation"]["value"] == pytest.approx(1 + 4 / 24 - 1)
    paired = compare(one, other)
    assert paired["num_questions"] == len(PLACES)
    gain = paired["separation"]["gain"]
    assert gain["value"] == pytest.approx(20 / 24)
    # The normal interval of 20 of 24 is 0.833 ± 1.96 · √(0.833 · 0.167 / 24), and the bootstrap's is about that.
    assert gain["ci"] == pytest.approx([0.68, 0.98], abs=0.04)
    assert paired["noisy_free"]["gain"]["value"] == pytest.approx(20 / 24)
    assert paired["useful_holding"]["gain"]["value"] == 0.0


def test_both_are_measured_by_the_same_weights(tmp_path: Path) -> None:
    cases = held_out_cases(tmp_path)
    one, same = measured_by(cases, well, well)
    assert [search.similarity for search in one.judged] == [search.similarity for search in same.judged]
    assert compare(one, same)["useful_similarity"]["value"] == pytest.approx(1.0)
    beside, _ = measured_by(cases, well, lambda request: ["Capital capital of capitals."])
    assert beside.judged[0].similarity != one.judged[0].similarity
    # What another simulator wrote is no repeat.
    assert contender_figures(one)["repeated_elsewhere"]["hits"] == 0


def test_questions_that_cant_be_judged_are_left_out(tmp_path: Path) -> None:
    rows = [*ROWS[:3], {"id": "yes", "question": "Is Aldia a country?", "answer": "yes"}]
    cases = held_out_cases(tmp_path, rows)

    def write(request):  # type: ignore[no-untyped-def]
        return ["Yes."] if request.question.id == "yes" else well(request)

    one, other = measured_by(cases, write, write)
    assert contender_figures(one)["useful_holding"]["n"] == 3
    assert compare(one, other)["num_questions"] == 3
