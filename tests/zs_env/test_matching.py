from __future__ import annotations

import ast
from pathlib import Path

import pytest

import zs_env.matching
from zs_env.matching import AnswerMatcher

HELD = [
    ("1,500", "It has one thousand five hundred rooms."),
    ("1500", "It has 1 500 rooms."),
    ("twenty-one", "There were 21 people."),
    ("21", "Twenty one people came."),
    ("3.5 million", "About 3,500,000 live there."),
    ("21st", "By the Twenty-First Amendment."),
    ("first", "It came 1st."),
    ("São Paulo", "in sao paulo, Brazil"),
    ("O’Neill", "Eugene O'Neill's plays"),
    ("United States", "The U.S. Army"),
    ("US", "in the United States of America"),
    ("World War II", "after the Second World War"),
    ("Marks & Spencer", "marks and spencer"),
    ("The Who", "Then The Who played."),
    ("December 1972", "on December 14, 1972"),
    ("14 December 1972 UTC", "They left on 1972-12-14."),
    ("July 4", "on the 4th of July 1776"),
    ("lion", "two lions"),
    ("lions", "a lion"),
    ("John F. Kennedy", "John Kennedy"),
    ("Kiss (band)", "They were called Kiss."),
    ("東京", "東京都です"),
    ("well-known", "a well known man"),
]
NOT_HELD = [
    ("1,500", "1,500,000 people"),
    ("5", "about 3.5 metres"),
    ("Ada", "Canada"),
    ("US", "He told us that."),
    ("World War I", "World War II"),
    ("The Who", "the people who came"),
    ("December 14, 1972", "in December 1972"),
    ("December 14, 1972", "on December 14, 1973"),
    ("1990s", "in 1990"),
    ("Paris Hilton", "Hilton went to Paris"),
]
CANT_BE_TOLD = [
    ("yes", "yes or no"),
    ("No.", "yes or no"),
    ("it", "small words"),
    ("one", "small words"),
    ("---", "no words"),
]


@pytest.mark.parametrize(("golden", "text"), HELD)
def test_an_answer_is_found_in_any_form(golden: str, text: str) -> None:
    assert AnswerMatcher([golden]).is_held(text) is True


@pytest.mark.parametrize(("golden", "text"), NOT_HELD)
def test_what_only_looks_like_an_answer_is_none(golden: str, text: str) -> None:
    assert AnswerMatcher([golden]).is_held(text) is False


@pytest.mark.parametrize(("golden", "why"), CANT_BE_TOLD)
def test_where_it_cant_be_told_nothing_is_said(golden: str, why: str) -> None:
    matcher = AnswerMatcher([golden])
    assert matcher.excluded == why
    assert matcher.is_held(f"It is {golden} indeed.") is None
    assert matcher.is_literally_held(f"It is {golden} indeed.") is None


def test_an_answer_that_stands_in_the_question_cant_be_told() -> None:
    question = "Who is older, Annie Morton or Terry Richardson?"
    assert AnswerMatcher(["Terry Richardson"], question).excluded == "in the question"
    assert AnswerMatcher(["the photographer", "terry richardson"], question).is_held("The photographer is.") is None
    assert AnswerMatcher(["the photographer"], question).is_held("The photographer is.") is True


def test_a_telling_word_of_an_answer_is_a_hint() -> None:
    matcher = AnswerMatcher(["Pyotr Ilyich Tchaikovsky", "in 1891"], "Who conducted Tchaikovsky's opening concert?")
    assert [matcher.is_hinted(text) for text in ("Ilyich did.", "In 1891.", "P. did.")] == [True, True, False]
    assert matcher.is_hinted("Tchaikovsky was there.") is False  # that is in the question
    assert matcher.is_held("Ilyich did.") is False
    assert AnswerMatcher(["yes"]).is_hinted("yes") is None


def test_dprs_rule_is_literal() -> None:
    # has_answer of DPR: tokens in a row, without case; punctuation marks are tokens and accents count.
    assert AnswerMatcher(["St. Louis"]).is_literally_held("to st. louis!") is True
    assert AnswerMatcher(["St. Louis"]).is_literally_held("to St Louis") is False
    assert AnswerMatcher(["São"]).is_literally_held("Sao") is False
    assert AnswerMatcher(["the US"]).is_literally_held("in the US.") is True
    assert AnswerMatcher(["Ada"]).is_literally_held("Canada") is False


def test_it_shares_nothing_with_the_check_that_it_is_to_judge() -> None:
    tree = ast.parse(Path(zs_env.matching.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {name for name in imported if name and name.startswith("zs_env")} == {"zs_env.combining"}


@pytest.mark.parametrize("unit", ["\u0301\u0316", "\u0591\u05b0"])
def test_marks_without_end_are_matched_in_time(unit: str) -> None:
    # Without breaks this sorts a hundred thousand marks by insertion, which takes minutes.
    text = f"Caf\u0301e{unit * 50_000} Paris"
    assert AnswerMatcher(["Paris"]).is_held(text) is True
    assert AnswerMatcher(["Rome"]).is_held(text) is False
    assert AnswerMatcher(["Paris"]).is_literally_held(text) is True
