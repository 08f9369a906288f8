import asyncio
import copy
import time

from zs_env.engines import ScriptedEngine
from zs_env.types import Document, Question, SearchRequest, SearchResult

QUESTION = Question(id="1", question="What is the capital of France?", golden_answers=("Paris",))


def request(query, topk=5):
    return SearchRequest(query=query, question=QUESTION, quality="useful", noise_probability=0.0, seed=0, topk=topk)


def texts(engine, *queries):
    results = engine.search_now([request(query) for query in queries])
    return [[document.text for document in result.documents] for result in results]


def test_a_mapping_answers_by_query():
    engine = ScriptedEngine({"a": "one", "b": ["two", Document("three", title="T")]})
    assert texts(engine, "b", "a", "c") == [["two", "three"], ["one"], []]


def test_a_sequence_answers_one_after_another_and_starts_again():
    engine = ScriptedEngine(["one", ["two", "three"]])
    assert texts(engine, "x", "y", "z") == [["one"], ["two", "three"], ["one"]]


def test_a_text_answers_everything():
    assert texts(ScriptedEngine("one"), "x", "y") == [["one"], ["one"]]


def test_a_function_answers_from_the_request_and_may_give_a_whole_result():
    assert texts(ScriptedEngine(lambda r: r.query.upper()), "x") == [["X"]]
    result = SearchResult(documents=(), engine="other", cost=2.0)
    assert ScriptedEngine(lambda _: result).search_now([request("x")]) == [result]


def test_what_a_function_raises_is_a_failed_search():
    def broken(_):
        raise KeyError("no such page")

    [result] = ScriptedEngine(broken).search_now([request("x")])
    assert result.error == "KeyError: 'no such page'"
    assert result.documents == ()


def test_no_script_finds_nothing():
    assert texts(ScriptedEngine(), "x") == [[]]
    assert texts(ScriptedEngine([]), "x") == [[]]


def test_topk_cuts():
    [result] = ScriptedEngine([["a", "b", "c"]]).search_now([request("x", topk=2)])
    assert [document.text for document in result.documents] == ["a", "b"]


def test_failures_on_demand():
    for fail, failed in [(True, ["a", "b"]), (["b"], ["b"]), (lambda r: r.query == "a", ["a"]), (False, [])]:
        engine = ScriptedEngine("text", fail=fail, error="down for lunch")
        results = engine.search_now([request("a"), request("b")])
        assert [result.error for result in results] == [
            "down for lunch" if query in failed else None for query in ("a", "b")
        ]
        assert all(bool(result.documents) == (result.error is None) for result in results)


def test_it_remembers_what_it_was_asked():
    engine = ScriptedEngine("text", name="double")
    engine.search_now([request("a"), request("b")])
    asyncio.run(engine.search([request("c")]))
    assert [r.query for r in engine.requests] == ["a", "b", "c"]
    assert engine.batches == [2, 1]
    assert engine.name == "double"


def test_search_waits_and_search_now_does_not():
    engine = ScriptedEngine("text", delay_s=0.05)
    start = time.perf_counter()
    engine.search_now([request("a")])
    at_once = time.perf_counter() - start
    [result] = asyncio.run(engine.search([request("a")]))
    assert time.perf_counter() - start - at_once >= 0.05
    assert at_once < 0.05
    assert result.latency_s == 0.05


def test_copies_are_the_engine_itself():
    engine = ScriptedEngine("text")
    assert copy.deepcopy(engine) is engine
    assert copy.copy(engine) is engine
