from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zs_env.combining import MAX_MARKS, stream_safe
from zs_env.prompts import show_documents
from zs_env.rewards import exact_match_score, normalize_answer
from zs_env.types import Document

ABOVE, BELOW = "\u0301", "\u0316"


def longest_run(text: str) -> int:
    longest = run = 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        longest = max(longest, run)
    return longest


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["e", ABOVE, BELOW, "\U0001d165", "\u0345", "\u3099"]), min_size=257, max_size=300))
def test_no_run_of_marks_stays_long_and_nothing_else_changes(parts: list[str]) -> None:
    text = "".join(parts)
    safe = stream_safe(text)
    assert longest_run(safe) <= MAX_MARKS
    assert safe.replace("\u034f", "") == text
    if longest_run(text) <= MAX_MARKS:
        assert safe == text


@pytest.mark.parametrize("unit", [ABOVE + BELOW, ABOVE + "!" + BELOW + "?"])
def test_marks_without_end_are_normalised_in_time(unit: str) -> None:
    # Without breaks this sorts two hundred thousand marks by insertion.
    text = "e" + unit * (200_000 // len(unit))
    assert longest_run(normalize_answer(text)) <= MAX_MARKS
    [(line, words)] = show_documents([Document(text)])
    assert len(line) == len(text)
    assert words.strip()
    assert exact_match_score(text, ["e"]) == 0.0


def test_text_of_people_is_scored_as_before() -> None:
    vietnamese = "Nguye\u0302\u0303n " * 60
    assert exact_match_score(vietnamese, [unicodedata.normalize("NFC", vietnamese)]) == 1.0
