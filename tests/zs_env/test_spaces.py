from __future__ import annotations

import pytest
from gymnasium import spaces

from zs_env import PolicyText, UnicodeText, parse_action


def test_any_script_is_inside_and_lone_surrogates_are_not() -> None:
    space = UnicodeText()
    assert isinstance(space, spaces.Text)
    for text in ("", "Zürich 北京 🙂 \n\x00", "x" * 100_000):
        assert space.contains(text)
    for other in ("\ud800", b"bytes", None, 3):
        assert not space.contains(other)
    assert not UnicodeText(max_length=3).contains("four")


def test_samples_repeat_under_a_seed_and_reach_every_kind_of_action() -> None:
    one, other = PolicyText(seed=0), PolicyText(seed=0)
    samples = [one.sample() for _ in range(100)]
    assert samples == [other.sample() for _ in range(100)]
    assert all(map(one.contains, samples))
    assert {parse_action(text).kind for text in samples} == {"search", "answer", "invalid"}


def test_equality_and_masks() -> None:
    assert UnicodeText() == UnicodeText()
    assert UnicodeText() != PolicyText()
    assert hash(UnicodeText(5)) == hash(UnicodeText(5))
    with pytest.raises(ValueError, match="mask"):
        UnicodeText().sample(mask="x")
