import pytest

from benchmarks.leaderboard.comparing import comparable, notes, questions_key
from tests.benchmarks.leaderboard.making import an_episode, content_of, renamed

EPISODES = [an_episode(0), an_episode(1)]


def with_set(**given):
    content = content_of(EPISODES)
    return content | {"sets": [content["sets"][0] | given]}


def test_the_same_questions_may_be_compared():
    first, second = content_of(EPISODES), content_of([an_episode(0, "Bob"), an_episode(1, None)])
    assert comparable(first, second) == []
    assert questions_key(first) == questions_key(second)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"fingerprint": "f", "split": "dev"}, "its split is None against 'dev'"),
        ({"fingerprint": "f", "revision": "a" * 40}, "its revision is None"),
        ({"fingerprint": "f", "size": 3}, "its size is 2 against 3"),
        ({"fingerprint": "f", "source_fingerprint": "s"}, "its hash is"),
        ({"fingerprint": "f", "limit": 7}, "other questions were played: limit None"),
    ],
)
def test_what_differs_is_said_with_the_way_out(given, told):
    (reason,) = comparable(content_of(EPISODES), with_set(**given))
    assert told in reason
    assert "Run both" in reason
    assert questions_key(content_of(EPISODES)) != questions_key(with_set(**given))


def test_equal_questions_may_come_from_elsewhere():
    assert comparable(content_of(EPISODES), with_set(source="mirror.jsonl", revision="a" * 40)) == []


def test_other_sets_are_refused():
    (reason,) = comparable(content_of(EPISODES), content_of([*EPISODES, *renamed(EPISODES, "others")]))
    assert "people against people, others (others only on one side)" in reason


def test_a_partial_record_is_refused_and_says_why():
    partial = content_of(EPISODES, state="partial", why_partial="the server is gone")
    (reason,) = comparable(content_of(EPISODES), partial)
    assert "'a policy' on template is partial (the server is gone)" in reason


def test_settings_that_differ_are_noted():
    first = content_of(EPISODES)
    second = content_of(EPISODES, version="9", machine={"cpus": 64}, num_failed=1)
    second["settings"] = second["settings"] | {
        "topk": 3,
        "temperature": 0.7,
        "noise_probability": 0.5,
        "judge": {"model": "j"},
    }
    second["agent"] = second["agent"] | {"fingerprint": "a2"}
    second["engine"] = second["engine"] | {"kind": "real"}
    told = notes(first, second)
    assert "Topk differs: 5 against 3." in told
    assert "Noise probability differs: 0.0 against 0.5." in told
    assert "Temperature differs: none against 0.7." in told
    assert "The judge differs: none against j." in told
    assert "The kind of engine differs: simulated against real." in told
    assert "The agent 'zerosearch' was changed in between: its fingerprints differ." in told
    assert any("different machines" in each for each in told)
    assert any("left out of both ('a policy' on template: 1)" in each for each in told)
    assert notes(first, first) == []
