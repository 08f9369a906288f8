from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.actions import STOP_STRINGS, parse_action
from zs_env.episode import Segment
from zs_env.errors import ConfigError
from zs_env.tuning.policies import Turn, make_policy
from zs_env.tuning.policy_model import as_messages, with_stop_string
from zs_env.types import Document, Question, SearchResult


def turn(question: str, *results: tuple[Document, ...], hops: int = 1) -> Turn:
    asked = Question(id="1", question=question, golden_answers=("x",), metadata={"hops": hops})
    found = tuple(SearchResult(documents=documents, engine="e") for documents in results)
    return Turn(question=asked, transcript="so far", segments=(), results=found, seed=1)


BRIDGE = "What government position was held by the woman who portrayed Corliss Archer in the film Kiss and Tell?"


@pytest.mark.parametrize(
    ("name", "hops", "action"),
    [
        ("question", 2, f"<search>{BRIDGE}</search>"),
        ("first-hop", 1, f"<search>{BRIDGE}</search>"),
        ("first-hop", 2, "<search>Corliss Archer Kiss and Tell</search>"),
        ("keywords", 2, "<search>government position held woman portrayed Corliss Archer film Kiss</search>"),
    ],
)
def test_policies_without_a_model_search_once(name: str, hops: int, action: str) -> None:
    policy = make_policy(name)
    assert asyncio.run(policy.act(turn(BRIDGE, hops=hops))) == action
    assert asyncio.run(policy.act(turn(BRIDGE, (), hops=hops))) is None
    assert not policy.draws


def test_a_follow_up_asks_for_the_first_new_name() -> None:
    film = Document(
        "Kiss and Tell is a 1945 film starring Shirley Temple as Corliss Archer.", title="Kiss and Tell (film)"
    )
    policy = make_policy("follow-up")
    assert asyncio.run(policy.act(turn(BRIDGE, hops=2))) == "<search>Corliss Archer Kiss and Tell</search>"
    second = asyncio.run(policy.act(turn(BRIDGE, (film,), hops=2)))
    assert second == "<search>Shirley Temple government position held woman portrayed film</search>"
    assert asyncio.run(policy.act(turn(BRIDGE, (film,), (film,), hops=2))) is None
    assert asyncio.run(policy.act(turn(BRIDGE, (), hops=2))) is None


@given(st.text(min_size=1).filter(lambda text: not text.isspace()))
def test_any_question_becomes_a_search_or_nothing_valid(question: str) -> None:
    action = asyncio.run(make_policy("question").act(turn(question + " </search><answer>x</answer> thing")))
    assert action is not None
    parsed = parse_action(action)
    assert parsed.kind == "search"
    assert "<answer>" not in parsed.content


def test_functions_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "def plain(observation): return observation.upper()\nasync def waiting(observation): return None\nthing = 3\n"
    )
    (tmp_path / "own_policy_of_test.py").write_text(code)
    policy = make_policy(f"{tmp_path}/own_policy_of_test.py:plain")
    assert asyncio.run(policy.act(turn("x"))) == "SO FAR"
    assert policy.identity["name"] == "own_policy_of_test.py:plain"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = make_policy("own_policy_of_test:waiting")
    assert asyncio.run(module.act(turn("x"))) is None
    assert module.identity == {"name": "own_policy_of_test:waiting", "fingerprint": policy.identity["fingerprint"]}
    (tmp_path / "own_policy_of_test.py").write_text(code + "# changed\n")
    changed = make_policy(f"{tmp_path}/own_policy_of_test.py:plain").identity["fingerprint"]
    assert changed != policy.identity["fingerprint"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nope", "Unknown policy 'nope': give one of first-hop, question"),
        ("no_such_module_here:act", "can't be imported"),
        ("no/such/file.py:act", "no file"),
        ("json:act", "json has no function 'act'"),
        ("json:__name__", "no function"),
        (":act", "Unknown policy"),
    ],
)
def test_policies_that_arent_there(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_policy(name)


def test_a_file_that_breaks_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=r"broken.py.*ZeroDivisionError"):
        make_policy(f"{tmp_path}/broken.py:act")


def test_a_transcript_as_a_chat() -> None:
    segments = [Segment("prompt", "P"), Segment("policy", "A"), Segment("environment", "D")]
    assert as_messages(segments) == [
        {"role": "user", "content": "P"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "D"},
    ]


@given(
    st.text(alphabet="ab <>/", max_size=8), st.sampled_from(["search", "answer"]), st.text(alphabet="xy ", min_size=1)
)
def test_a_stop_string_that_a_server_left_out_is_put_back(before: str, kind: str, content: str) -> None:
    whole = f"{before}<{kind}>{content}</{kind}>"
    cut = whole
    for stop in STOP_STRINGS:
        cut = cut.partition(stop)[0]
    if parse_action(whole).kind == "invalid":
        assert parse_action(with_stop_string(cut)).kind == "invalid"
    else:
        assert parse_action(with_stop_string(cut)) == parse_action(whole)
        assert with_stop_string(whole) == whole
