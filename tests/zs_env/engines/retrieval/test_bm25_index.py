from __future__ import annotations

import math
import sys
from collections import Counter
from itertools import pairwise

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zs_env.engines.retrieval.corpora import CITIES, Said, ids, request, write
from zs_env.engines.retrieval import bm25
from zs_env.engines.retrieval.analysis import Analyzer
from zs_env.engines.retrieval.bm25_index import BM25Index, build_bm25, top
from zs_env.engines.retrieval.folder import open_passages, scan_corpus
from zs_env.errors import ConfigError, MissingPackageError


def naive(documents: list[list[str]], query: list[str], k1: float, b: float) -> list[float]:
    """BM25 in plain Python floats, straight from the formula."""
    number, mean = len(documents), sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        often, score = Counter(document), 0.0
        for term in query:
            holders = sum(term in other for other in documents)
            if term in often:
                idf = math.log(1 + (number - holders + 0.5) / (holders + 0.5))
                score += idf * often[term] / (often[term] + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return scores


def built(tmp_path, rows, *, block_passages=10_000, k1=0.9, b=0.4, language="none") -> BM25Index:
    corpus = write(tmp_path / "c.jsonl", rows)
    scan_corpus(tmp_path, corpus, Said())
    passages = open_passages(tmp_path, corpus)
    build_bm25(tmp_path, passages, Said(), language=language, k1=k1, b=b, block_passages=block_passages)
    return BM25Index(tmp_path, language)


WORDS = st.lists(st.sampled_from(["ant", "bee", "cat", "dog", "eel", "fox"]), min_size=1, max_size=12)


@settings(max_examples=20, deadline=None)
@given(
    documents=st.lists(WORDS, min_size=1, max_size=12),
    query=WORDS,
    block=st.integers(1, 5),
    k1=st.floats(0, 3),
    b=st.floats(0, 1),
)
def test_scores_and_ranks_are_those_of_the_formula(tmp_path_factory, documents, query, block, k1, b):
    rows = [{"text": " ".join(document)} for document in documents]
    index = built(tmp_path_factory.mktemp("bm25"), rows, block_passages=block, k1=k1, b=b)
    [hits] = index.search([" ".join(query)], [len(documents)])
    expected = naive(documents, query, k1, b)
    assert {position for position, _ in hits} == {i for i, score in enumerate(expected) if score > 0}
    for position, score in hits:
        assert score == pytest.approx(expected[position], rel=1e-5)
    in_order = [expected[position] for position, _ in hits]
    assert all(first >= second - 1e-5 for first, second in pairwise(in_order))


def test_blocks_change_nothing_and_the_library_itself_gives_the_same_scores(tmp_path):
    rng = np.random.default_rng(0)
    documents = [[f"w{int(word)}" for word in rng.zipf(1.5, size=rng.integers(1, 40)) % 97] for _ in range(150)]
    rows = [{"text": " ".join(document)} for document in documents]
    for name in "ab":
        (tmp_path / name).mkdir()
    whole = built(tmp_path / "a", rows)
    blocks = built(tmp_path / "b", rows, block_passages=7)
    library = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    library.index(documents, show_progress=False)
    for query in ("w1 w2 w3", "w5", "w40 w41 w40", "w96 w1"):
        [hits] = whole.search([query], [150])
        assert blocks.search([query], [150]) == [hits]
        scores = library.get_scores(query.split())
        assert [score for _, score in hits] == pytest.approx([scores[at] for at, _ in hits], rel=1e-5)
        assert len(hits) == (scores > 0).sum()


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), max_size=20), k=st.integers(1, 25))
def test_the_best_are_the_best_and_of_equals_the_first(scores, k):
    expected = sorted((-score, at) for at, score in enumerate(scores) if score > 0)[:k]
    assert top(np.array(scores, dtype=np.float32), k) == [(at, -score) for score, at in expected]


def test_terms_have_no_case_accents_endings_or_stop_words():
    terms = Analyzer("english").terms
    assert terms("The CAPITALS of São Paulo's parks") == ["capit", "sao", "paulo", "park"]
    assert terms("東京 2024 ﬁne") == ["東", "京", "2024", "fine"]
    assert Analyzer("german").terms("Die Hauptstädte") == Analyzer("german").terms("Hauptstadt")
    assert Analyzer("none").terms("The capitals") == ["the", "capitals"]
    with pytest.raises(ConfigError, match=r"language='klingon' isn't known. Known: .*english"):
        Analyzer("klingon")


def test_a_query_that_shares_no_term_finds_nothing_without_failing(tmp_path):
    engine = bm25(corpus=write(tmp_path / "c.jsonl"), say=Said())
    for query in ("zebra", "the of and", "?", "\ud800\x00"):
        [result] = engine.search_now([request(query)])
        assert (result.documents, result.error) == ((), None)
    assert ids(engine.search_now([request("capital zebra")])[0]) == ["c", "a", "b"]


def test_words_in_titles_accents_and_other_scripts_are_found(tmp_path):
    engine = bm25(corpus=write(tmp_path / "c.jsonl"), say=Said())
    assert ids(engine.search_now([request("sao paulo park")])[0]) == ["d"]
    assert ids(engine.search_now([request("東京")])[0]) == ["d"]


def test_a_corpus_without_a_single_term_is_indexed(tmp_path):
    engine = bm25(corpus=write(tmp_path / "c.jsonl", [{"text": "..."}, {"text": "the of"}]), say=Said())
    assert len(engine) == 2
    assert engine.search_now([request("the of ...")])[0].documents == ()


def test_a_passage_of_a_hundred_thousand_words_is_indexed_like_any_other(tmp_path):
    rows = [*CITIES, {"id": "long", "text": "needle " + "hay " * 100_000}]
    engine = bm25(corpus=write(tmp_path / "c.jsonl", rows), say=Said())
    assert ids(engine.search_now([request("needle")])[0]) == ["long"]


@pytest.mark.parametrize(
    "wrong", [{"k1": -1}, {"b": 1.5}, {"k1": float("nan")}, {"k1": "high"}, {"corpus": 5}, {"corpus": ""}]
)
def test_wrong_options_are_said_before_anything_is_read(tmp_path, wrong):
    with pytest.raises(ConfigError, match=r"k1 is at least 0|corpus is the path"):
        bm25(**{"corpus": tmp_path / "c.jsonl", "say": Said(), **wrong})


def test_an_index_whose_files_hold_rubbish_is_built_anew(tmp_path):
    corpus = write(tmp_path / "c.jsonl", [{"id": "a", "text": "needle"}, {"id": "b", "text": "straw"}])
    bm25(corpus=corpus, say=Said())
    for name in ("vocab.index.json", "data.csc.index.npy"):
        [file] = (tmp_path / "c.jsonl.index").glob(f"*/{name}")
        file.write_bytes(b"\xff" * file.stat().st_size)
        engine = bm25(corpus=corpus, say=(said := Said()))
        assert ids(engine.search_now([request("needle")])[0]) == ["a"]
        assert said.num_builds == 1
        del engine  # an open index is shared, and not read again


def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingPackageError, match=r'pip install "zerosearch-env\[retrieval\]"'):
        bm25(corpus=write(tmp_path / "c.jsonl"), say=Said())
