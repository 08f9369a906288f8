from __future__ import annotations

from zs_env.likeness import words_of
from zs_env.tuning.excerpts import excerpts
from zs_env.types import Document

TEXT = (
    "The tower of Pisa leans to one side. It was built by several masters over two hundred years. "
    "Many visitors climb it. On summer evenings the square before it is full of people who take pictures of it."
)


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


def test_an_excerpt_is_in_an_even_form() -> None:
    [found] = excerpts(Document("Hassan Al- Qeed( born 13 April 1998) is\na player ."), number=0, num_words=10)
    assert found.text == "Hassan Al-Qeed (born 13 April 1998) is a player."
