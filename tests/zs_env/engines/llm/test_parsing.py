"""What real models write, and what is read out of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zs_env.engines.llm.parsing import parse_reply

A, B, C = "Paris is the capital of France.", "It lies on the Seine, founded c. 250 BC.", "2. is no mark in here: Doc 9"


def read(text: str, topk: int = 5, *, cut: bool = False) -> list[str]:
    return [document.text for document in parse_reply(text, topk, cut=cut).documents]


@pytest.mark.parametrize(
    "reply",
    [
        f"Doc 1: {A}\nDoc 2: {B}",
        f"Doc 1: {A}\n\nDoc 2: {B}\n\n",
        f"doc 1 - {A}\nDOC 2 – {B}",
        f"Document 1: {A}\nDocument 2: {B}",
        f"**Document 1:** {A}\n**Document 2:** {B}",
        f"**Doc 1**: {A}\n**Doc 2**: {B}",
        f"### Document #1\n{A}\n\n### Document #2\n{B}",
        f"- Doc 1: {A}\n- Doc 2: {B}".replace("- ", "> "),
        f"[1] {A}\n[2] {B}",
        f"(1) {A}\n(2) {B}",
        f"1. {A}\n2. {B}",
        f"1) {A}\n2) {B}",
        f"1: {A}\n2: {B}",
        f"**1.** {A}\n\n**2.** {B}",
        f"- {A}\n- {B}",
        f"* {A}\n* {B}",
        f"• {A}\n• {B}",
        f"{A}\n\n{B}",
        f"{A}\n{B}",
        f"文档1：{A}\n文档2：{B}",
        f"Документ 1: {A}\nДокумент 2: {B}",
        f"Documento 1: {A}\nDocumento 2: {B}",
        f"Dokument 1: {A}\nDokument 2: {B}",
        f"Doc 1: {A} Doc 2: {B}",
        f"[Doc 1] {A}\n[Doc 2] {B}",
        f"Doc 1:\n{A}\nDoc 2:\n{B}",
        f"Doc1: {A}\nDoc2: {B}",
        f"Useful Output:\nDoc 1: {A}\nDoc 2: {B}",
        f"Sure! Here are two useful documents for the query:\n\nDoc 1: {A}\nDoc 2: {B}",
        f"Here are two:\n1. {A}\n2. {B}",
        f"Here are two documents:\n\n{A}\n\n{B}",
        f"<think>Doc 1: no\nI write two.</think>\nDoc 1: {A}\nDoc 2: {B}",
        f"```text\nDoc 1: {A}\nDoc 2: {B}\n```",
        f"Doc 1: {A}\nDoc 2: {B}\n\nLet me know if you need more!",
        f"Doc 1: {A}\nDoc 2: {B}\n\n**Note:** these documents are made up.",
        f"Doc 1: {A}\nDoc 2: {B}\n\nQuery: another one\nUseful Output:\nDoc 1: No.\nDoc 2: No.",
        f"Doc 1: {A}\nDoc 2: {B}\nDoc 1: {A}\nDoc 2: {B}",
        f"Doc 1: {A}\nDoc 2: {A.upper()}\nDoc 3: {B}",
        f"Doc 1: {A}\nDoc 2:\nDoc 3: {B}",
        f'["{A}", "{B}"]',
        f'{{"documents": [{{"text": "{A}"}}, {{"content": "{B}"}}]}}',
        f"\r\nDoc 1: {A}\r\nDoc 2: {B}\r\n",
    ],
)
def test_ways_to_write_two_documents(reply: str) -> None:
    assert read(reply) == [A, B]


def test_numbers_inside_a_document_are_no_marks() -> None:
    assert read(f"Doc 1: {A}\nDoc 2: {C}") == [A, C]
    assert read("1. In 1889. it rose.\n1889. was the year.\n2. Two.") == [
        "In 1889. it rose. 1889. was the year.",
        "Two.",
    ]
    assert read("The war ended in\n1945. Then came peace.") == ["The war ended in", "1945. Then came peace."]


@pytest.mark.parametrize(
    "mark",
    [
        "Doc 1 (Title: Paris): ",
        "Doc 1(Title: Paris) ",
        "Doc 1: (Title: Paris) ",
        "Doc 1: Title: Paris\n",
        "1. **Title:** Paris\nText: ",
    ],
)
def test_titles(mark: str) -> None:
    [document] = parse_reply(mark + A, 1).documents
    assert (document.title, document.text) == ("Paris", A)


def test_too_many_are_cut_and_counted() -> None:
    parsed = parse_reply("\n".join(f"Doc {i}: text {i}" for i in range(1, 9)), 5)
    assert [document.text for document in parsed.documents] == [f"text {i}" for i in range(1, 6)]
    assert parsed.num_found == 8


@pytest.mark.parametrize("reply", ["", " \n", "***", "Doc 1:", "<think>and so on", "```\n```", "…", "\x00", "[]", "{}"])
def test_nothing_is_nothing(reply: str) -> None:
    assert parse_reply(reply, 5).documents == ()


def test_a_reply_that_was_cut_off_loses_its_unfinished_end() -> None:
    assert read("Doc 1: One. Two.\nDoc 2: Three. And the fo", cut=True) == ["One. Two.", "Three."]
    assert read("Doc 1: One. Two.\nDoc 2: And the fo", cut=True) == ["One. Two."]
    assert read("Doc 1: One. Two.\nDoc 2: Three.", cut=True) == ["One. Two.", "Three."]
    assert read("Doc 1: And the fo", cut=True) == []
    assert read("Doc 1: And the fo") == ["And the fo"]
    assert parse_reply("Doc 1: One. And", 1, cut=True).cut
    assert not parse_reply("Doc 1: One.", 1, cut=True).cut


@pytest.mark.parametrize(
    "reply",
    [
        f"Doc 1: {A}\nDoc 1: {B}",
        f"Doc 2: {A}\nDoc 2: {B}",
        f"1. {A}\n1. {B}",
        f"Doc 1: Query: capital of France\nDoc 2: {A}\nDoc 3: {B}",
        json.dumps({"documents": [{"Doc 1": A}, {"Doc 2": B}]}),
    ],
)
def test_numbers_that_repeat_a_query_said_back_and_names_as_keys(reply: str) -> None:
    assert read(reply) == [A, B]


def test_a_mark_inside_a_line_has_the_word_of_the_mark_before() -> None:
    assert read(f"Doc 1: The result 2: 1 was fair.\nDoc 2: {B}") == ["The result 2: 1 was fair.", B]


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot generate misleading documents about the capital of France.\n\nIs there anything else?",
        "Unfortunately, I can’t create noisy documents.",
        "As an AI language model, I don't search.",
    ],
)
def test_a_refusal_is_no_document(reply: str) -> None:
    assert read(reply) == []


@pytest.mark.parametrize("text", ["I'm Sorry is a song of 1960.", "Sorry is a word.", "I can see Paris."])
def test_a_document_that_begins_much_like_a_refusal_is_one(text: str) -> None:
    assert read(text) == [text]


PIECES = st.sampled_from(
    ["Doc 1: ", "Doc 2:", "\n", "\n\n", "1. ", "[2] ", "**", "- ", "<think>", "</think>", "```", "Query: ", "Title: ",
     "(Title:", "Note:", "[", "{", '"', "word ", "文档3：", "\ud800", "\x00", ". ", "Useful Output:", ")"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join)), st.integers(1, 6), st.booleans())
def test_whatever_a_model_writes_gives_clean_documents(text: str, topk: int, cut: bool) -> None:
    parsed = parse_reply(text, topk, cut=cut)
    assert len(parsed.documents) <= min(topk, parsed.num_found)
    for document in parsed.documents:
        assert document.text == " ".join(document.text.split()) != ""
        document.text.encode()
        assert document.title is None or document.title.strip()
    assert len({document.text for document in parsed.documents}) == len(parsed.documents)


MARKS = st.sampled_from(["Doc {}: ", "[{}] ", "{}. ", "**Document {}:** "])
WORDS = st.text("abcdefgh ,.é中", min_size=1, max_size=30).map(lambda text: f"x{' '.join(text.split())}y.")


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=6, unique=True), MARKS)
def test_numbered_documents_come_back_as_they_were(texts: list[str], mark: str) -> None:
    reply = "\n".join(mark.format(i) + text for i, text in enumerate(texts, 1))
    assert read(reply, len(texts)) == texts


@pytest.mark.parametrize("piece", ["Doc 1: ", "<think>", "\n", "(Title: (", "**", "[", "```", ". ", "- ", "1. "])
def test_long_replies_take_no_longer_than_their_length(piece: str) -> None:
    parse_reply(piece * 4_000 + "x", 5)
