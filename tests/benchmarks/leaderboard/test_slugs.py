import re

import pytest

from benchmarks.leaderboard.slugs import slug_of
from tests.benchmarks.leaderboard.making import an_episode, content_of


def slug(**given):
    content = content_of([an_episode(0)])
    for name, value in given.items():
        content[name] = content[name] | value
    return slug_of(content)


def test_a_slug_can_be_read():
    assert re.fullmatch(r"questions--a-policy--none--template--[0-9a-f]{8}", slug())
    assert slug(row={"policy": "SmolLM2-135M-Instruct, rag (größer)/x"}).startswith(
        "questions--smollm2-135m-instruct-rag-grosser-x--none"
    )
    assert slug(row={"policy": "模型"}).startswith("questions--x--none")
    assert re.fullmatch(r"[a-z0-9.-]+", slug(row={"policy": "../../etc/passwd" * 20}))
    assert len(slug(row={"policy": "../../etc/passwd" * 20})) < 200


@pytest.mark.parametrize(
    "given",
    [
        {"row": {"policy": "模型 2"}},
        {"settings": {"seed": 1}},
        {"settings": {"noise_probability": 0.5}},
        {"settings": {"max_turns": 4}},
        {"settings": {"temperature": 0.7}},
        {"agent": {"fingerprint": "a2"}},
        {"engine": {"options": {"k1": 1.2}}},
        {"suite": {"version": 2}},
    ],
)
def test_what_plays_otherwise_has_another_slug(given):
    assert slug(**given) != slug()


def test_other_questions_have_another_slug():
    content = content_of([an_episode(0), an_episode(1)])
    assert slug_of(content) != slug()


def test_what_changes_no_outcome_changes_no_slug():
    assert slug(settings={"concurrency": 99, "prices": {"per_hour": 1.0}, "judge": {"model": "j"}}) == slug()
    content = content_of([an_episode(0)], machine={"cpus": 64}, date="2027-01-01", seconds=9.0, git=None)
    assert slug_of(content) == slug()


def test_a_usual_prompt_changes_no_name_and_another_does():
    plain = content_of([an_episode(0)])
    usual = plain | {"settings": plain["settings"] | {"prompt": "default", "max_information_chars": 20_000}}
    short = plain | {"settings": plain["settings"] | {"prompt": "short"}}
    assert slug_of(usual) == slug_of(plain) != slug_of(short)
