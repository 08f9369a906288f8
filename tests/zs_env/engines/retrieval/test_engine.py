from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
import threading

import gymnasium as gym
import pytest

from tests.zs_env.engines.retrieval.corpora import CITIES, Said, ids, request, untouchable, write
from zs_env import check_engine
from zs_env.engines import make_engine
from zs_env.engines.around import around
from zs_env.engines.retrieval import bm25, dense
from zs_env.errors import ConfigError
from zs_env.types import SyncSearchEngine

MODES = pytest.mark.parametrize("mode", ["bm25", "dense"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write(tmp_path_factory.mktemp("corpus") / "c.jsonl")


@MODES
def test_the_contract_is_kept(corpus, mode):
    engine = make_engine(mode, corpus=str(corpus))
    assert isinstance(engine, SyncSearchEngine)
    check_engine(engine)


@MODES
def test_the_contract_is_kept_where_searches_go_to_a_thread(corpus, mode, monkeypatch):
    monkeypatch.setattr("zs_env.engines.retrieval.engine._DIRECT_PASSAGES", 0)
    check_engine(make_engine(mode, corpus=str(corpus)))


@MODES
def test_nothing_of_the_question_or_the_draw_is_looked_at(corpus, mode):
    engine = make_engine(mode, corpus=corpus)
    question = untouchable()
    with pytest.raises(AssertionError, match="looked at golden_answers"):
        _ = question.golden_answers
    drawn = [
        request("capital of Peru", question=question, quality=quality, seed=seed, noise_probability=noise)
        for quality, seed, noise in (("useful", 0, 0.0), ("noisy", 1, 1.0))
    ]
    [[one], [other]] = engine.search_now(drawn[:1]), engine.search_now(drawn[1:])
    assert one.documents == other.documents
    assert one.supports_query is None
    assert set(ids(one)) >= {"a", "b"}


@MODES
def test_documents_have_title_text_id_and_score(corpus, mode):
    [result] = make_engine(mode, corpus=corpus).search_now([request("capital of Ecuador", 1)])
    [document] = result.documents
    assert (document.title, document.text) == ("Quito", "Quito is the capital of Ecuador.")
    assert document.metadata["id"] == "c"
    assert isinstance(document.metadata["score"], float)
    assert (result.engine, result.cost, result.cached) == (mode, 0.0, False)
    assert result.latency_s > 0


@MODES
def test_of_equal_passages_the_earlier_comes_first(tmp_path, mode):
    same = write(tmp_path / "c.jsonl", [{"text": "Lima is in Peru."} for _ in range(30)])
    engine = make_engine(mode, corpus=same)
    assert ids(engine.search_now([request("Peru", 4)])[0]) == ["0", "1", "2", "3"]
    assert len(engine.search_now([request("Peru", 99)])[0].documents) == 30


@MODES
def test_a_packed_corpus_and_a_table_answer_like_the_plain_one(tmp_path, corpus, mode):
    packed = write(tmp_path / "c.jsonl.gz")
    rows = ["id\ttitle\ttext", *("\t".join(row[name] for name in ("id", "title", "text")) for row in CITIES)]
    table = write(tmp_path / "c.tsv", rows)
    asked = [request("capital of Peru"), request("Brazil 東京")]
    plain, *others = (
        [r.documents for r in make_engine(mode, corpus=c).search_now(asked)] for c in (corpus, packed, table)
    )
    assert others == [plain, plain]


@MODES
def test_copies_are_the_engine_and_pickles_open_the_same_index(corpus, mode):
    engine = make_engine(mode, corpus=corpus)
    assert copy.deepcopy(engine) is copy.copy(engine) is engine
    assert pickle.loads(pickle.dumps(engine)) is engine


def test_another_process_opens_the_index_that_there_is(corpus):
    engine = bm25(corpus=corpus, say=Said())
    code = "import sys, pickle; e = pickle.load(sys.stdin.buffer); print(e.fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(engine), capture_output=True, check=True)
    assert done.stdout.decode().strip() == engine.fingerprint
    assert b"Building" not in done.stderr


def test_threads_that_search_at_once_get_what_one_gets(corpus):
    engine = bm25(corpus=corpus, say=Said())
    queries = ["capital", "Peru", "country in South America", "parks of Brazil"] * 5
    expected = [ids(engine.search_now([request(query)])[0]) for query in queries]
    found: dict[int, list] = {}

    def work(number):
        found[number] = [ids(result) for result in engine.search_now([request(query) for query in queries])]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [expected] * 6


def test_the_event_loop_goes_on_while_a_large_index_is_searched(corpus, monkeypatch):
    monkeypatch.setattr("zs_env.engines.retrieval.engine._DIRECT_PASSAGES", 0)
    engine = bm25(corpus=corpus, say=Said())
    held, seen = threading.Event(), []
    search_now = engine.search_now

    def slow(requests):
        assert held.wait(timeout=30)
        return search_now(requests)

    monkeypatch.setattr(engine, "search_now", slow)

    async def main():
        searching = asyncio.ensure_future(engine.search([request("Peru")]))
        await asyncio.sleep(0)
        seen.append("the loop")
        held.set()
        return await searching

    [result] = asyncio.run(main())
    assert seen == ["the loop"]
    assert ids(result)[0] == "b"


def test_a_cache_asks_a_query_once_whatever_is_drawn_and_knows_another_corpus(tmp_path):
    corpus = write(tmp_path / "c.jsonl")
    cached = around(bm25(corpus=corpus, say=Said()), cache=tmp_path / "cache.sqlite")
    first = cached.search_now([request("Peru", seed=1)])[0]
    again = cached.search_now([request("Peru", seed=2, quality="noisy")])[0]
    assert (first.cached, again.cached) == (False, True)
    assert first.documents == again.documents
    write(corpus, CITIES[:1])
    after = around(bm25(corpus=corpus, say=Said()), cache=tmp_path / "cache.sqlite").search_now([request("Peru")])[0]
    assert not after.cached
    assert ids(after) == ["a"]


def test_a_passage_that_cannot_be_read_any_more_fails_its_search_alone(tmp_path):
    corpus = write(tmp_path / "c.jsonl")
    engine = bm25(corpus=corpus, say=Said())
    with corpus.open("r+b") as file:
        file.truncate(150)
    lost, kept = engine.search_now([request("Ecuador"), request("largest")])
    assert lost.documents == ()
    assert "was changed since it was indexed" in str(lost.error)
    assert ids(kept) == ["a"]


@MODES
def test_an_environment_searches_a_corpus(corpus, mode):
    env = gym.make("ZeroSearch-v0", search_mode=mode, search_options={"corpus": str(corpus)}, noise_probability=1.0)
    question = {"id": "q", "question": "What is the capital of Ecuador?", "golden_answers": ["Quito"]}
    env.reset(seed=1, options={"question": question})
    observation, *_, info = env.step("<search>capital of Ecuador</search>")
    assert "Quito is the capital of Ecuador." in observation
    search = info["search"]
    assert (search["engine"], search["supports_query"], search["contains_golden"]) == (mode, None, True)
    assert env.step("<answer>Quito</answer>")[1] == 1.0


def test_environments_side_by_side_share_an_index_and_a_spec_makes_them_again(corpus):
    options = {"corpus": str(corpus)}
    one, other = (gym.make("ZeroSearch-v0", search_mode="bm25", search_options=options) for _ in range(2))
    again = gym.make(gym.envs.registration.EnvSpec.from_json(one.spec.to_json()))
    engines = {id(env.unwrapped.engine) for env in (one, other, again)}
    assert len(engines) == 1


@MODES
def test_what_a_mode_needs_and_does_not_take_is_said(mode):
    with pytest.raises(ConfigError, match=rf"Search mode '{mode}' needs 'corpus'.*--search-option corpus="):
        make_engine(mode)
    with pytest.raises(ConfigError, match=rf"Search mode '{mode}' doesn't take 'base_url'.*'corpus'"):
        make_engine(mode, corpus="c.jsonl", base_url="http://127.0.0.1:1")


def test_dense_and_bm25_of_a_corpus_lie_side_by_side(tmp_path):
    corpus = write(tmp_path / "c.jsonl")
    bm25(corpus=corpus, say=Said()), dense(corpus=corpus, say=Said())
    kinds = {path.name.partition("-")[0] for path in (tmp_path / "c.jsonl.index").iterdir() if path.is_dir()}
    assert kinds == {"bm25", "dense"}
