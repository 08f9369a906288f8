from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zs_env.actions import STOP_STRINGS, _parse_any, clean_text, parse_action

TAGS = [f"<{slash}{name}>" for slash in ("", "/") for name in ("think", "search", "answer", "information")]
protocol_text = st.lists(st.one_of(st.sampled_from(TAGS), st.text(max_size=6)), max_size=14).map("".join)


def test_the_first_complete_action_wins() -> None:
    text = "<search>one</search><answer>two</answer>"
    assert parse_action(text) == ("search", "one", len("<search>one</search>"))
    assert parse_action("<answer>two</answer><search>one</search>").content == "two"


def test_content_is_stripped() -> None:
    assert parse_action("<answer>\n Paris \t</answer>").content == "Paris"


def test_defect_10_a_tag_quoted_in_a_thought_is_no_action() -> None:
    text = "<think>maybe <answer>Rome</answer> or <search>x</search></think><search>capital</search>"
    assert parse_action(text)[:2] == ("search", "capital")


def test_defect_10_search_does_not_beat_an_earlier_answer() -> None:
    assert parse_action("<answer>Rome</answer> <search>Rome</search>").kind == "answer"


def test_an_unclosed_thought_hides_the_rest() -> None:
    assert parse_action("<think>hm <search>x</search>").kind == "invalid"


def test_a_thought_can_follow_a_thought() -> None:
    assert parse_action("<think>a</think><think>b</think><answer>c</answer>").content == "c"


def test_a_stray_closing_tag_changes_nothing() -> None:
    assert parse_action("</think></search><answer>c</answer>").content == "c"


def test_content_holds_no_tag() -> None:
    assert parse_action("<search>a<answer>b</answer>")[:2] == ("answer", "b")
    assert parse_action("<search>a<think>b</think>c</search>").kind == "invalid"
    assert parse_action("<search>a<information>b</search>").kind == "invalid"


def test_empty_content_is_no_action() -> None:
    assert parse_action("<search>  </search>").kind == "invalid"
    assert parse_action("<search></search><answer>b</answer>")[:2] == ("answer", "b")


def test_tags_are_exact() -> None:
    for text in ("<Search>x</Search>", "<search >x</search >", "<search>x", "search>x</search>", "<answer>x</search>"):
        assert parse_action(text).kind == "invalid"


def test_documents_written_by_the_policy_are_not_actions() -> None:
    assert parse_action("<information>Paris</information>").kind == "invalid"


def test_an_invalid_text_is_kept_whole() -> None:
    assert parse_action("no tag at all").end == len("no tag at all")


@given(protocol_text)
def test_an_action_ends_at_a_stop_string_and_holds_no_tag(text: str) -> None:
    action = parse_action(text)
    assert action == parse_action(text[: action.end])
    if action.kind == "invalid":
        assert action.content == ""
    else:
        assert text[: action.end].endswith(f"</{action.kind}>")
        assert f"</{action.kind}>" in STOP_STRINGS
        assert not any(tag in action.content for tag in TAGS)
        assert action.content == action.content.strip() != ""


@given(protocol_text)
def test_the_fast_path_agrees_with_the_general_parser(text: str) -> None:
    assert parse_action(text) == _parse_any(text)


def test_the_fast_path_is_linear() -> None:
    assert parse_action("<search>" + " " * 200_000 + "<").kind == "invalid"
    assert parse_action("<search>" + "a " * 200_000).kind == "invalid"
    assert parse_action("x" * 500_000).kind == "invalid"


@given(protocol_text, protocol_text)
def test_what_follows_an_action_is_ignored(text: str, more: str) -> None:
    action = parse_action(text)
    if action.kind != "invalid":
        assert parse_action(text + more) == action


@given(st.text(alphabet=st.characters(), max_size=50) | st.text(alphabet="a\ud800\udfff", max_size=8))
def test_cleaned_text_can_be_encoded(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert len(cleaned) == len(text)
    assert clean_text(cleaned) == cleaned


def test_long_hostile_text_is_parsed_in_linear_time() -> None:
    assert parse_action("<search>" * 200_000 + "x</search>").content == "x"
    assert parse_action("<think></think>" * 100_000).kind == "invalid"
