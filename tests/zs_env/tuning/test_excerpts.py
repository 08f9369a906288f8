from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.likeness import words_of
from zs_env.tuning.excerpts import excerpts, sentences
from zs_env.types import Document

TEXT = (
    "The tower of Pisa leans to one side. It was built by several masters over two hundred years. "
    "Many visitors climb it. On summer evenings the square before it is full of people who take pictures of it."
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("J. R. R. Tolkien wrote it. He lived in Oxford.", 2),
        ("It cost 3.5 million. Then it fell.", 2),
        ("Mr. Smith met St. Peter.", 1),
        ("She lived in the U.S. until 1990. Then she left.", 2),
        ("東京は首都です。大阪は商業の町です。", 2),
        ("…", 0),
        ("", 0),
    ],
)
def test_sentences_end_where_they_end(text: str, parts: int) -> None:
    assert len(sentences(text)) == parts


@given(st.text(max_size=200))
def test_sentences_lose_no_word(text: str) -> None:
    kept = [word for part in sentences(text) for word in part.split() if any(map(str.isalnum, word))]
    assert kept == [word for word in text.split() if any(map(str.isalnum, word))]


def test_an_excerpt_is_about_as_long_as_is_asked_for() -> None:
    found = list(excerpts(Document(TEXT), number=3, num_words=20))
    assert [each.first for each in found] == [0, 1, 2, 3]
    assert all(10 <= len(words_of(each.text)) <= 30 for each in found)
    assert all(each.text in TEXT and each.document == 3 for each in found)


def test_a_short_document_is_given_whole() -> None:
    [found] = excerpts(Document("A mill."), number=0, num_words=30)
    assert found.text == "A mill."


def test_an_excerpt_names_what_it_is_about() -> None:
    document = Document("She was a queen. Her sister Mary was one, too.", "Anne Boleyn (film)")
    texts = [each.text for each in excerpts(document, number=0, num_words=4)]
    assert texts == ["Anne Boleyn: She was a queen.", "Anne Boleyn: Her sister Mary was one, too."]
    assert [e.text for e in excerpts(Document("Anne Boleyn was a queen.", "Anne Boleyn"), number=0, num_words=5)] == [
        "Anne Boleyn was a queen."
    ]


def test_a_sentence_without_end_gives_no_excerpt() -> None:
    assert list(excerpts(Document("word " * 100), number=0, num_words=30)) == []
