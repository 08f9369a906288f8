from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zs_env.engines.retrieval.corpora import CITIES, Said, ids, request, write
from zs_env.engines.retrieval import dense
from zs_env.engines.retrieval.dense_index import VECTORS, DenseIndex
from zs_env.engines.retrieval.embedders import Embedder, WordLlamaEmbedder, make_embedder
from zs_env.errors import ConfigError, MissingPackageError


class Numbers:
    """Embeds a text of numbers as these numbers."""

    name = "numbers"
    dimension = 3

    def embed_passages(self, texts):
        return np.array([[float(part) for part in text.split()] for text in texts], dtype=np.float32)

    embed_queries = embed_passages


def index_of(folder, vectors, block_rows) -> DenseIndex:
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / VECTORS, (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float16))
    return DenseIndex(folder, Numbers(), block_rows=block_rows)


NUMBER = st.integers(-3, 3)
VECTOR = st.tuples(NUMBER, NUMBER, NUMBER)


@settings(max_examples=25, deadline=None)
@given(
    vectors=st.lists(VECTOR, min_size=1, max_size=30),
    queries=st.lists(VECTOR.filter(any), min_size=1, max_size=4),
    k=st.integers(1, 35),
    block_rows=st.integers(1, 9),
)
def test_the_best_are_those_of_plain_cosines(tmp_path_factory, vectors, queries, k, block_rows):
    folder = tmp_path_factory.mktemp("dense")
    index = index_of(folder, vectors, block_rows)
    stored = np.load(folder / VECTORS).astype(np.float64)
    found = index.search([" ".join(map(str, query)) for query in queries], [k] * len(queries))
    for query, hits in zip(queries, found, strict=True):
        unit = (np.array(query, dtype=np.float32) / np.linalg.norm(np.float32(query))).astype(np.float64)
        cosines = [float(sum(row * unit)) for row in stored]
        expected = sorted(range(len(stored)), key=lambda at: (-round(cosines[at], 6), at))[:k]
        assert len(hits) == len(expected)
        assert [round(score, 5) for _, score in hits] == pytest.approx([cosines[at] for at in expected], abs=2e-5)
        for position, score in hits:
            assert score == pytest.approx(cosines[position], abs=1e-6)


def test_what_a_query_finds_does_not_depend_on_its_mates_or_on_blocks(tmp_path):
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(40, 3)), 5, axis=0)  # with many equal ones
    queries = [" ".join(map(str, rng.normal(size=3))) for _ in range(70)]
    together = index_of(tmp_path, vectors, 16).search(queries, [7] * 70)
    apart = [
        index_of(tmp_path, vectors, rows).search([query], [7])[0]
        for rows, query in zip([200, 7] * 35, queries, strict=True)
    ]
    assert together == apart
    for hits in together:
        assert hits == sorted(hits, key=lambda hit: (-hit[1], hit[0]))


def test_a_query_with_a_zero_vector_finds_nothing(tmp_path):
    assert index_of(tmp_path, [[1, 0, 0]], 8).search(["0 0 0"], [3]) == [[]]


def test_meanings_are_found_with_the_embeddings_of_wordllama(tmp_path):
    rows = [
        {"id": "cat", "text": "The kitten slept on the sofa."},
        {"id": "tax", "text": "The ministry raised income tax."},
        {"id": "sea", "text": "Ships crossed the ocean."},
    ]
    engine = dense(corpus=write(tmp_path / "c.jsonl", rows), say=Said())
    results = engine.search_now([request("cats", 1), request("government finance", 1), request("sailing boats", 1)])
    assert [ids(result)[0] for result in results] == ["cat", "tax", "sea"]


@pytest.mark.slow
def test_our_wordllama_vectors_are_the_librarys():
    texts = ["Lima is the capital of Peru.", "a", "東京 🦊", "word " * 300]
    code = (
        "import sys, json, pathlib, wordllama, numpy\n"
        "model = wordllama.WordLlama.load(cache_dir=pathlib.Path(wordllama.__file__).parent, disable_download=True)\n"
        "json.dump([model.embed([t])[0].tolist() for t in json.load(sys.stdin)], sys.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(WordLlamaEmbedder().embed_passages(texts), json.loads(done.stdout), atol=1e-5)


def test_an_embedder_of_ones_own_and_its_name(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl", [{"text": "1 0 0"}, {"text": "0 1 0"}, {"text": "0 0 2"}]), Said()
    assert isinstance(Numbers(), Embedder)
    engine = dense(corpus=corpus, embedder=Numbers(), say=said)
    assert ids(engine.search_now([request("0.1 0 5", 2)])[0]) == ["2", "0"]
    other = Numbers()
    other.name = "other"
    assert dense(corpus=corpus, embedder=other, say=said).fingerprint != engine.fingerprint
    assert said.num_builds == 2


def test_an_embedder_that_gives_no_numbers_fails_its_searches_alone(tmp_path):
    class Sick(Numbers):
        name = "sick"

        def embed_queries(self, texts):
            return np.full((len(texts), 3), np.nan, dtype=np.float32)

    engine = dense(corpus=write(tmp_path / "c.jsonl", [{"text": "1 0 0"}]), embedder=Sick(), say=Said())
    [result] = engine.search_now([request("x")])
    assert result.documents == ()
    assert "finite numbers" in str(result.error)

    class Sicker(Sick):
        name = "sicker"
        embed_passages = Sick.embed_queries

    with pytest.raises(ConfigError, match="finite numbers"):
        dense(corpus=tmp_path / "c.jsonl", embedder=Sicker(), say=Said())


def test_vectors_may_be_stored_larger(tmp_path):
    corpus = write(tmp_path / "c.jsonl")
    small, large = (dense(corpus=corpus, dtype=dtype, say=Said()) for dtype in ("float16", "float32"))
    assert small.fingerprint != large.fingerprint
    found = [ids(engine.search_now([request("capital of Ecuador", 4)])[0]) for engine in (small, large)]
    assert found[0] == found[1]
    assert found[0][0] == "c"
    assert len(found[0]) == len(CITIES)


def test_a_text_of_a_million_words_costs_no_more_than_its_beginning():
    embedder = WordLlamaEmbedder()
    long = embedder.embed_passages(["lima " * 1_000_000, "lima " * 4_000])
    np.testing.assert_array_equal(long[0], long[1])
    assert not embedder.embed_passages([""]).any()


def test_wrong_options_and_missing_packages_are_said(tmp_path, monkeypatch):
    corpus = write(tmp_path / "c.jsonl")
    with pytest.raises(ConfigError, match="dtype is 'float16' or 'float32'"):
        dense(corpus=corpus, dtype="int8")
    with pytest.raises(ConfigError, match="either embedder or model"):
        dense(corpus=corpus, embedder=Numbers(), model="e5")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingPackageError, match="pip install sentence-transformers"):
        make_embedder("intfloat/e5-base-v2")
    monkeypatch.setattr("zs_env.engines.retrieval.embedders.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install "zerosearch-env\[retrieval\]"'):
        WordLlamaEmbedder()
