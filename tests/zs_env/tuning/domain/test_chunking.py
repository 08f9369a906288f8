from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.errors import ConfigError
from zs_env.tuning.domain.chunking import ChunkSettings, chunks_of, looks_english, noise_of
from zs_env.tuning.domain.read_text import read_text
from zs_env.tuning.domain.sections import Section
from zs_env.tuning.sentences import sentences_of

WORDS = st.text("abc", min_size=1, max_size=5)
BLOCKS = st.lists(st.lists(WORDS, min_size=1, max_size=30).map(" ".join), min_size=1, max_size=6)


@given(st.lists(BLOCKS, min_size=1, max_size=4), st.integers(2, 20))
def test_chunks_keep_every_word_in_order_and_stay_bounded(sections: list[list[str]], max_words: int) -> None:
    given_ = [Section("", tuple(blocks)) for blocks in sections]
    settings = ChunkSettings(max_words=max_words, min_words=1)
    chunks = [text for _, text in chunks_of(given_, settings)]
    assert " ".join(chunks).split() == [word for blocks in sections for block in blocks for word in block.split()]
    assert all(len(chunk.split()) <= max_words for chunk in chunks)


def test_sentences_stay_whole_where_they_fit() -> None:
    block = "One two three four. Five six seven. Eight nine ten eleven twelve."
    chunks = [text for _, text in chunks_of([Section("A", (block,))], ChunkSettings(max_words=8, min_words=1))]
    assert chunks == ["One two three four. Five six seven.", "Eight nine ten eleven twelve."]


def test_a_short_section_joins_the_one_before_it_with_its_heading() -> None:
    sections = [
        Section("A", ("one two three four five",)),
        Section("A – B", ("six seven",)),
        Section("C", ("x " * 20,)),
    ]
    chunks = list(chunks_of(sections, ChunkSettings(max_words=15, min_words=4)))
    assert chunks[0] == ("A", "one two three four five\nB: six seven")
    assert [heading for heading, _ in chunks] == ["A", "C", "C"]


def test_noise_is_named() -> None:
    assert noise_of("two words", 3) == "too short"
    assert noise_of("the same " * 20, 3) == "the same words again and again"
    assert noise_of("ab\ufffdcd ef\ufffdg hij", 3) == "broken letters"
    assert noise_of("x" * 500 + " and more words", 3) == "no words: letters without spaces"
    assert noise_of("日本" * 300 + " 東京 です", 3) is None
    assert looks_english("The hut is on a ridge, and it has two rooms for all who come.")


def test_bounds_are_checked() -> None:
    with pytest.raises(ConfigError, match="min_words=9 and max_words=9"):
        ChunkSettings(max_words=9, min_words=9)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("J. R. R. Tolkien wrote it. It sold.", 2),
        ("It costs 2.5 crowns, approx. 3 euros! Why? Who knows…", 3),
        ("He lives in St. Ives. U.S. troops left. No. 5 stayed.", 3),
        ("これは本です。あれも本です。", 2),
        ("", 0),
    ],
)
def test_sentences_end_where_people_end_them(text: str, count: int) -> None:
    assert len(sentences_of(text)) == count


def test_large_files_of_one_paragraph_take_linear_time() -> None:
    lines = "\n".join(f"Line {number} says that machine {number % 7} was restarted." for number in range(60_000))
    start = time.process_time()
    chunks = list(chunks_of(read_text(lines).sections, ChunkSettings()))
    chunks += chunks_of(read_text("word " * 300_000).sections, ChunkSettings())
    assert len(chunks) > 6_000
    assert time.process_time() - start < 20
