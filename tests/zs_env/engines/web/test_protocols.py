"""What is written in either protocol is read as the same documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.engines.web.protocols import as_document, as_json, read_search_r1, read_zerosearch, write_request
from zs_env.types import Document

LIMA = Document("Lima is the capital of Peru.\nIt is large.", "Lima", {"id": "7", "score": 2.5})

_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_titles = _words.map(lambda text: " ".join(text.split())).filter(bool) | st.none()
_texts = _words.filter(lambda text: bool(text.strip()))


def test_requests_are_those_of_the_two_clients() -> None:
    assert write_request("search-r1", ["a", "b"], 3) == {"queries": ["a", "b"], "topk": 3, "return_scores": True}
    assert write_request("zerosearch", ["a"], 5) == {"query": "a", "top_k": 5}


@given(st.lists(st.builds(Document, _texts, _titles), max_size=4))
def test_documents_come_back_as_they_went(documents: list[Document]) -> None:
    assert read_search_r1({"result": [as_json("search-r1", documents)]}, 1, 9) == [tuple(documents)]
    assert read_search_r1({"result": [as_json("search-r1", documents, scores=False)]}, 1, 9) == [tuple(documents)]
    assert read_zerosearch(as_json("zerosearch", documents), 9) == tuple(documents)


def test_scores_and_metadata_come_back_too() -> None:
    assert read_search_r1({"result": [as_json("search-r1", [LIMA])]}, 1, 9) == [(LIMA,)]
    assert read_zerosearch(as_json("zerosearch", [LIMA]), 9) == (LIMA,)


def test_what_search_r1s_client_reads_is_there() -> None:
    """Its client takes the first line of `contents` for the title, also where there is none."""
    for document, title in ((LIMA, '"Lima"'), (Document("one\ntwo"), '""')):
        [item] = as_json("search-r1", [document])
        first, *rest = item["document"]["contents"].split("\n")
        assert (first, "\n".join(rest)) == (title, document.text)


def test_what_zerosearchs_client_reads_is_there() -> None:
    """Its client reads nothing but `text`, so that the title has to stand there."""
    assert [item["text"] for item in as_json("zerosearch", [LIMA])] == [f"Lima\n{LIMA.text}"]


@pytest.mark.parametrize(
    ("item", "document"),
    [
        ({"document": {"contents": '"Lima"\nIn Peru.'}, "score": 1.5}, Document("In Peru.", "Lima", {"score": 1.5})),
        ({"document": {"contents": "Lima\nIn Peru.", "id": "7"}}, Document("In Peru.", "Lima", {"id": "7"})),
        (
            {"document": {"contents": '"Lima"\nIn Peru.', "title": "Lima", "text": "In Peru."}},
            Document("In Peru.", "Lima"),
        ),
        ({"title": "Lima", "contents": '"Lima"\nIn Peru.'}, Document("In Peru.", "Lima")),
        ({"contents": "No title here."}, Document("No title here.")),
        ({"contents": '"Title alone"\n'}, Document('"Title alone"\n')),
        ({"contents": '""\nNo title.'}, Document("No title.")),
        ({"text": "two\nlines"}, Document("two\nlines")),
        ({"text": "a", "score": "high", "more": {"not": "plain"}}, Document("a", None, {"score": "high"})),
        ({"document": {"text": "a"}, "score": None}, Document("a")),
        ("just text", Document("just text")),
        ({"text": "bad \ud800 half"}, Document("bad \N{REPLACEMENT CHARACTER} half")),
        ({"text": "  "}, None),
    ],
)
def test_servers_write_documents_in_many_ways(item: Any, document: Document | None) -> None:
    assert as_document(item) == document


@pytest.mark.parametrize(
    ("payload", "odd"),
    [
        ({"result": [[]]}, "1 lists of documents for 2 queries"),
        ({"result": "x"}, "without a list"),
        ({"result": [[], "x"]}, "str where a list"),
        ({"result": [[], [7]]}, "int where a document"),
        ({"result": [[], [{"title": "T"}]]}, "neither 'text' nor 'contents'"),
        ([], "without a list"),
    ],
)
def test_an_odd_reply_is_named(payload: Any, odd: str) -> None:
    with pytest.raises(ValueError, match=odd):
        read_search_r1(payload, 2, 3)


def test_no_more_than_topk_are_taken() -> None:
    """Search-R1's server for SerpAPI gives more than it is asked for."""
    assert len(read_zerosearch(["a", "b", "c"], 2)) == 2
