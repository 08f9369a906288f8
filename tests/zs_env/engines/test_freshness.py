from __future__ import annotations

import pytest

from zs_env.engines.freshness import find_freshness
from zs_env.engines.hybrid import HybridEngine
from zs_env.engines.scripted import ScriptedEngine
from zs_env.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Who is the current president of Kenya?", "current"),
        ("what is the latest version of chrome for linux", "latest"),
        ("where are the winter olympic games being held this year", "this year"),
        ("Who won last night's game?", "last night"),
        ("who has the best nba record this season", "this season"),
        ("who is the number one golfer right now", "right now"),
        ("where is the mona lisa now?", "now"),
        ("Is she still alive?", "still alive"),
        ("What’s today’s weather", "today"),
        ("Today's exchange rate", "today"),
        ("bitcoin price in dollars", "bitcoin price"),
        ("population of Lima as of today", "as of today"),
        ("WHO IS THE CURRENT CHAMPION", "current"),
    ],
)
def test_questions_about_now(text, found):
    assert find_freshness(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "What is the unit of electric current?",
        "alternating current inventor",
        "How does a current transformer work?",
        "what is current density",
        "which ocean current warms europe",
        "force on a current carrying wire",
        "Who directed Apocalypse Now?",
        "who founded USA Today",
        "who founded usa today",
        "the tonight show first host",
        "Who sang Yesterday?",
        "when was the last year the eagles went to the superbowl",
        "The last year of the war",
        "by what date at the latest must taxes be paid",
        "Which film was released more recently, Old Dogs or Up?",
        "who is the president of France",
        "currency of Lyon",
        "who won the 1998 world cup",
        "",
    ],
)
def test_questions_that_are_not_about_now(text):
    assert find_freshness(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("who won the 2025 world series", "2025"),
        ("who won the 2024 world series", None),
        ("what will host the 2034 world cup", "2034"),
        ("who directed blade runner 2049", None),
        ("population of Rome in 2026?", "2026"),
        ("what costs $2025", None),
        ("a city of 2026.5 square miles", None),
    ],
)
def test_years_count_from_the_one_that_is_set(text, found):
    assert find_freshness(text, since_year=2025) == found
    assert find_freshness(text) is None


def test_any_text_is_read_in_bounded_time():
    assert find_freshness("is a " * 100_000 + "now") is None
    assert find_freshness("last " * 100_000) is None


def test_a_year_without_the_rule_is_an_error():
    with pytest.raises(ConfigError, match="since_year"):
        HybridEngine(ScriptedEngine(), ScriptedEngine(), real_probability=0.5, since_year=2025)
    with pytest.raises(ConfigError, match="since_year"):
        HybridEngine(ScriptedEngine(), ScriptedEngine(), rule="freshness", since_year=25)
