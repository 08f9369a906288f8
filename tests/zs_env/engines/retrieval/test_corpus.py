from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zs_env.engines.retrieval.corpora import CITIES, write
from zs_env.engines.retrieval import corpus as corpora
from zs_env.engines.retrieval.corpus import Passage, Passages, corpus_fingerprint, read_passages
from zs_env.errors import ConfigError


def passages_of(path: Path) -> list[Passage]:
    return [passage for _, _, passage in read_passages(path) if passage is not None]


def test_columns_of_the_corpora_that_are_in_use(tmp_path):
    rows = [
        {"id": "0", "contents": '"Lima"\nLima is in Peru.\nIt is large.'},  # ZeroSearch, Search-R1
        {"_id": 7, "title": "Quito", "text": "It is in Ecuador.", "metadata": {}},  # BEIR
        {"docid": "x", "title": None, "contents": "No title here."},
        {"title": "Only a title", "text": None},
        {"text": "Only text"},
    ]
    assert passages_of(write(tmp_path / "c.jsonl", rows)) == [
        Passage("0", "Lima", "Lima is in Peru.\nIt is large."),
        Passage("7", "Quito", "It is in Ecuador."),
        Passage("x", None, "No title here."),
        Passage(None, "Only a title", ""),
        Passage(None, None, "Only text"),
    ]


def test_a_tsv_of_dpr_with_quotes_in_its_cells(tmp_path):
    rows = ["id\ttext\ttitle", '1\t"He said ""no"" to it."\tAaron', "", "2\tPlain\tLima\r"]
    assert passages_of(write(tmp_path / "psgs.tsv", rows)) == [
        Passage("1", "Aaron", 'He said "no" to it.'),
        Passage("2", "Lima", "Plain"),
    ]


def test_a_packed_corpus_and_one_with_a_byte_order_mark_read_alike(tmp_path):
    plain = write(tmp_path / "c.jsonl")
    packed = write(tmp_path / "p.ndjson.gz")
    marked = tmp_path / "m.jsonl"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert passages_of(plain) == passages_of(packed) == passages_of(marked)
    assert [p.id for p in passages_of(plain)] == [row["id"] for row in CITIES]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "isn't JSON"),
        ("[1, 2]", r"this is \[1, 2\]"),
        ('{"body": "x"}', "no 'text' or 'contents'"),
        ('{"text": 5}', "text and title are texts"),
        ('{"text": "x", "title": ["y"]}', "text and title are texts"),
        ('{"text": "x", "id": {"a": 1}}', "an id is a text or a number"),
        ("[" * 100_000, "isn't JSON"),
        ('{"text": ' + "9" * 5_000 + "}", "isn't JSON|texts"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, says):
    path = write(tmp_path / "c.jsonl", [CITIES[0], "", line])
    with pytest.raises(ConfigError, match=f"c.jsonl, line 3: .*({says})"):
        passages_of(path)


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"text": "caf\xe9"}\n')
    with pytest.raises(ConfigError, match=r"line 1: byte 14 .*isn't UTF-8"):
        passages_of(path)


def test_a_tsv_needs_a_header_and_equal_cells(tmp_path):
    with pytest.raises(ConfigError, match=r"line 1: the first line of a .tsv corpus names its columns"):
        passages_of(write(tmp_path / "a.tsv", ["1\tsome words\tLima"]))
    with pytest.raises(ConfigError, match="line 3: there are 2 cells for the 3 columns"):
        passages_of(write(tmp_path / "b.tsv", ["id\ttext\ttitle", "1\tx\ty", "2\tx"]))
    with pytest.raises(ConfigError, match="line 2: this isn't tsv"):
        passages_of(write(tmp_path / "c.tsv", ["id\ttext", '1\t"never closed']))


def test_a_huge_line_is_refused_before_it_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "MAX_LINE_BYTES", 1_000)
    long = write(tmp_path / "c.jsonl", [CITIES[0], {"text": "x" * 2_000}])
    with pytest.raises(ConfigError, match="line 2 is longer than"):
        passages_of(long)
    assert len(passages_of(write(tmp_path / "d.jsonl", [{"text": "x" * 900}]))) == 1


def test_a_packed_file_that_is_cut_or_not_packed_is_said(tmp_path):
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "c.jsonl").read_bytes())[:-9])
    with pytest.raises(ConfigError, match=r"c.jsonl.gz, line \d: the file can't be read on"):
        passages_of(path)
    path.write_bytes(b"plain text")
    with pytest.raises(ConfigError, match="line 1: the file can't be read on"):
        passages_of(path)


def test_no_file_and_an_unknown_ending_are_said(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no corpus .*nothing.jsonl"):
        passages_of(tmp_path / "nothing.jsonl")
    with pytest.raises(ConfigError, match=r"known endings are .jsonl, .ndjson and .tsv"):
        passages_of(write(tmp_path / "c.parquet"))


TEXTS = st.text(st.characters(codec=None), max_size=30)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=8))
def test_reading_by_position_is_reading_in_order(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    lines = [json.dumps({"title": title, "text": text}, ensure_ascii=True) for title, text in rows]
    path.write_text("\n\n".join(lines), encoding="utf-8")
    found = [(offset, passage) for offset, _, passage in read_passages(path) if passage is not None]
    by_position = Passages(path, np.array([offset for offset, _ in found], dtype=np.int64), path.name)
    assert len(by_position) == len(found)
    for position, (_, passage) in enumerate(found):
        assert by_position[position] == passage._replace(id=str(position))
        passage.full_text.encode()  # lone surrogates are gone


def test_a_corpus_that_changed_under_an_index_is_said(tmp_path):
    path = write(tmp_path / "c.jsonl")
    second = path.read_bytes().index(b"\n") + 1
    passages = Passages(path, np.array([0, second], dtype=np.int64), path.name)
    assert passages[1].id == "b"
    path.write_bytes(path.read_bytes()[: second + 5])
    assert passages[0].id == "a"  # what can still be read is
    with pytest.raises(ConfigError, match="changed since it was indexed"):
        passages[1]


def test_the_fingerprint_tells_bytes(tmp_path):
    one, same = write(tmp_path / "a.jsonl"), write(tmp_path / "b.jsonl")
    other = write(tmp_path / "c.jsonl", CITIES[:-1])
    assert corpus_fingerprint(one) == corpus_fingerprint(same) != corpus_fingerprint(other)
