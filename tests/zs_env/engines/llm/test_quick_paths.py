"""What is done the quick way is done as the slow way does it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zs_env.engines.llm import checking, drafts, parsing
from zs_env.rewards import as_words
from zs_env.types import Document

_PIECES = (
    "Spider-Man|spiderman's|the|a|Paris|pARIS|1,000|1 000|two|million|twenty-one|21|U.S.|us|May|12|1999|é|São|日本|"
    "one|1|Ada|Canada|lord|of|rings|-|'s|es|u2|(x)|box|boxes|!|\n|Doc 1: |\nDoc 2: |Doc 3|\n\n|Title: x\n|(Title: y) |"
    "query: |docs|output|passage 2: |[|*|<think>|</think>|`|\nDoc 2 : |\ndoc 2: |\r|\x0b"
)
_TEXTS = st.lists(st.sampled_from([*_PIECES.split("|"), " ", ". "]), max_size=14).map("".join)


@given(st.lists(_TEXTS.filter(str.strip), min_size=1, max_size=2), _TEXTS, st.sampled_from(["", "-", " "]))
def test_a_golden_answer_is_found_as_in_all_views(goldens: list[str], text: str, joint: str) -> None:
    for whole in (text, f"{text} {goldens[0].swapcase().replace('-', joint)}"):
        slowly = [
            golden.is_in(whole, as_words(whole), checking._views(whole)) for golden in map(checking._Golden, goldens)
        ]
        found = checking.Goldens(goldens)
        expected = any(golden.is_in(whole, as_words(whole), checking._views(whole)) for golden in found._goldens)
        assert found.are_in(whole) is expected
        assert expected <= any(slowly)


@given(_TEXTS, st.booleans())
def test_documents_on_lines_of_their_own_are_read_as_the_patterns_read_them(text: str, in_order: bool) -> None:
    if in_order:
        text = "\n".join(f"Doc {i}: {line}" for i, line in enumerate(text.split("\n"), 1))
    text = text.strip()  # as `parse_reply` does
    quickly = parsing._plain_lines(text)
    if quickly is not None:
        slowly = parsing._split(parsing._LABEL.sub("", text))
        assert list(map(parsing._as_document, quickly)) == list(map(parsing._as_document, slowly))


def test_the_common_form_is_read_the_quick_way() -> None:
    assert parsing._plain_lines("Doc 1: One, in 1990.\nDoc 2: Two: 2.") == ["One, in 1990.\n", "Two: 2."]
    assert parsing._plain_lines("Doc 1: One.\nDoc 3: Three.") is None


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "eeeee", "f", "gg", "hhh", "iiii"]), min_size=1), min_size=2
    )
)
def test_near_doubles_are_found_as_by_comparing_all(documents: list[list[str]]) -> None:
    *examples, last = [Document(" ".join(sorted(words))) for words in documents]
    found = drafts.Examples.of(examples).have(drafts.word_set(last))
    sets = list(map(drafts.word_set, examples))
    words = drafts.word_set(last)
    assert found is any(len(words & known) / len(words | known) >= drafts.NEARLY_THE_SAME for known in sets)


@given(st.lists(_TEXTS.filter(str.strip), min_size=1, max_size=2), st.lists(_TEXTS, max_size=4))
def test_a_look_at_all_documents_together_overlooks_none(goldens: list[str], texts: list[str]) -> None:
    found = checking.Goldens(goldens)
    if not found.may_be_in("\n".join(texts)):
        assert not any(map(found.are_in, texts))
