"""SerpAPI's shapes as documents: the replies here have the fields of its documentation."""

from __future__ import annotations

from typing import Any

import pytest

from zs_env.engines.web.serp import found_nothing, is_final, read_documents

NOTHING = "Google hasn't returned any results for this query."
RESULT = {
    "position": 1,
    "title": "Lima - Wikipedia",
    "link": "https://example.org/Lima",
    "displayed_link": "https://example.org › Lima",
    "snippet": "Lima is the capital of Peru …",
    "snippet_highlighted_words": ["Lima", "capital"],
}


def read(**payload: Any) -> list[tuple[str | None, str]]:
    return [(document.title, document.text) for document in read_documents(payload, 10)]


def test_titles_and_snippets_are_titles_and_texts() -> None:
    """ZeroSearch's client puts the snippet right behind the title: "Lima - WikipediaLima is …"."""
    [document] = read_documents({"organic_results": [RESULT]}, 5)
    assert (document.title, document.text) == ("Lima - Wikipedia", "Lima is the capital of Peru …")
    assert document.metadata == {"kind": "organic", "url": "https://example.org/Lima"}


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ({"title": "T", "snippet": "  two\n lines\u00a0here "}, ("T", "two lines here")),
        ({"title": "T", "snippet": "s", "date": "Mar 3, 2020"}, ("T", "Mar 3, 2020 — s")),
        ({"title": "T", "snippet": "Mar 3, 2020 — s", "date": "Mar 3, 2020"}, ("T", "Mar 3, 2020 — s")),
        ({"snippet": "s"}, (None, "s")),
        ({"title": "title alone"}, (None, "title alone")),
        ({"title": "T", "snippet": None, "snippet_highlighted_words": ["Lima", "Peru"]}, ("T", "Lima; Peru")),
        ({"title": "T", "rich_snippet": {"top": {"extensions": ["4.5", "$9"]}, "bottom": {}}}, ("T", "4.5; $9")),
        ({"title": "北京 🦊", "snippet": "中国的首都"}, ("北京 🦊", "中国的首都")),
        ({"title": "T", "snippet": "half \ud800"}, ("T", "half \N{REPLACEMENT CHARACTER}")),
    ],
)
def test_a_result_may_lack_its_parts(given: dict[str, Any], read_as: tuple[str | None, str]) -> None:
    assert read(organic_results=[given]) == [read_as]


@pytest.mark.parametrize("organic", [None, "x", {}, [None], [7], [{}], [{"title": "", "snippet": " "}]])
def test_what_is_no_result_is_no_document(organic: Any) -> None:
    assert read(organic_results=organic) == []


def test_a_page_and_a_text_stand_but_once() -> None:
    again = {**RESULT, "snippet": "Another snippet.", "link": "https://example.org/Lima#History"}
    copied = {**RESULT, "snippet": "LIMA is the capital of  Peru …", "link": "https://mirror.example/Lima"}
    assert len(read(organic_results=[RESULT, again, copied])) == 1


@pytest.mark.parametrize(
    ("box", "read_as"),
    [
        ({"type": "organic_result", "title": "Lima", "answer": "1535", "snippet": "Founded in 1535.", "link": "https://e"},
         ("Lima", "1535. Founded in 1535.")),
        ({"type": "organic_result", "title": "Peaks", "list": ["Everest", "K2"]}, ("Peaks", "Everest; K2")),
        ({"type": "organic_result", "title": "GDP", "contents": {"table": [["Year", "GDP"], ["2020", "7"]]}},
         ("GDP", "Year, GDP; 2020, 7")),
        ({"type": "calculator_result", "result": "4"}, (None, "4")),
        ({"type": "population_result", "place": "Peru", "population": "33.7 million", "year": "2021"},
         (None, "Place: Peru. Population: 33.7 million. Year: 2021")),
        ({"type": "weather_result", "temperature": "18", "unit": "Celsius", "thumbnail": "https://e.org/i.png"},
         (None, "Temperature: 18. Unit: Celsius")),
        ({"type": "translation_result", "target": {"language": "Spanish", "text": "hola"}},
         (None, "Target: Spanish, hola")),
        ({"type": "dictionary_results", "definitions": ["n. a fruit", "n. a city"]}, (None, "n. a fruit; n. a city")),
        ([{"title": "First", "snippet": "of a list"}], ("First", "of a list")),
    ],
)  # fmt: skip
def test_an_answer_box_is_the_first_document(box: Any, read_as: tuple[str | None, str]) -> None:
    found = read_documents({"answer_box": box, "organic_results": [RESULT]}, 2)
    assert [(document.title, document.text) for document in found] == [read_as, (RESULT["title"], RESULT["snippet"])]
    assert [(document.metadata or {})["kind"] for document in found] == ["answer_box", "organic"]


def test_a_knowledge_graph_says_its_facts() -> None:
    graph = {
        "title": "Lima",
        "type": "Capital of Peru",
        "kgmid": "/m/04lh6",
        "knowledge_graph_search_link": "https://example.org/k",
        "description": "Lima is a city.",
        "source": {"name": "Wikipedia", "link": "https://example.org/Lima"},
        "founded": "January 18, 1535",
        "founded_links": [{"text": "x", "link": "https://example.org"}],
        "mayor": "Someone",
    }
    text = "Capital of Peru. Lima is a city. Founded: January 18, 1535. Mayor: Someone"
    assert read(knowledge_graph=graph) == [("Lima", text)]


def test_boxes_can_be_left_out_and_topk_counts_them() -> None:
    payload = {
        "answer_box": {"answer": "a"},
        "knowledge_graph": {"title": "G", "type": "g"},
        "organic_results": [RESULT],
    }
    kinds = [
        [
            (document.metadata or {})["kind"]
            for document in read_documents(payload, topk, answer_box=box, knowledge_graph=box)
        ]
        for topk, box in ((9, True), (2, True), (9, False))
    ]
    assert kinds == [["answer_box", "knowledge_graph", "organic"], ["answer_box", "knowledge_graph"], ["organic"]]


@pytest.mark.parametrize(
    ("payload", "nothing"),
    [
        (
            {"error": "Google hasn't returned any results for this query.", "search_metadata": {"status": "Success"}},
            True,
        ),
        ({"error": "Google hasn't returned any results for this query."}, True),
        ({"error": "Something new.", "search_metadata": {"status": "Success"}}, True),
        ({"error": "Your account has run out of searches."}, False),
        ({"error": "Invalid API key. Your API key should be here: x", "search_metadata": {"status": "Success"}}, False),
        ({"error": "We couldn't get valid results.", "search_metadata": {"status": "Error"}}, False),
        ({"error": "Unsupported `xx` gl parameter."}, False),
    ],
)
def test_nothing_found_is_told_from_a_failure(payload: dict[str, Any], nothing: bool) -> None:
    assert found_nothing(payload) is nothing


def test_errors_of_the_account_are_final() -> None:
    for said in (
        "Your account has run out of searches.",
        "Your searches for the month have run out. You can upgrade plans here: x",
        "Invalid API key. Your API key should be here: x",
    ):
        assert is_final(said)
    assert not is_final("You are exceeding 1,000 searches per hour.")
