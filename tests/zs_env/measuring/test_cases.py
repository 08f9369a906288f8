from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.simulator.helpers import capitals, write_questions
from zs_env.measuring.cases import load_cases, make_query


def test_useful_and_noisy_are_asked_the_same(tmp_path: Path) -> None:
    cases = capitals(tmp_path)
    assert len(cases) == 12
    for useful, noisy in zip(cases[::2], cases[1::2], strict=True):
        assert (useful.request.quality, noisy.request.quality) == ("useful", "noisy")
        assert useful.request.query == noisy.request.query == useful.request.question.question
        assert useful.request.seed == noisy.request.seed
        assert not useful.multi_hop
    assert len({case.request.seed for case in cases}) == 6


def test_a_search_doesnt_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    every = {(case.request.question.id, case.request.quality): case.request for case in capitals(tmp_path)}
    some = capitals(tmp_path, limit=2)
    assert len(some) == 4
    assert [every[case.request.question.id, case.request.quality] for case in some] == [case.request for case in some]
    assert {case.request.question.id for case in capitals(tmp_path, limit=2, seed=3)} != {
        case.request.question.id for case in some
    }


def test_files_may_hold_the_same_ids(tmp_path: Path) -> None:
    cases = capitals(tmp_path, write_questions(tmp_path, "a.jsonl"), write_questions(tmp_path, "hotpotqa_dev.jsonl"))
    assert len({case.request.question.id for case in cases}) == 12
    assert [case.multi_hop for case in cases] == [False] * 12 + [True] * 12  # a file's name may say so
    assert all(case.multi_hop for case in capitals(tmp_path, hops=2))
    assert not any(case.multi_hop for case in capitals(tmp_path, write_questions(tmp_path, "musique.jsonl"), hops=1))


def test_the_atlas_says_how_many_hops() -> None:
    cases, _ = load_cases(["atlas"], split="test", limit=40, queries="first-hop", hops=None, topk=1, seed=0)
    assert {case.multi_hop for case in cases} == {case.request.question.metadata["hops"] == 2 for case in cases}
    assert {case.multi_hop for case in cases} == {True, False}


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("What is the capital of the country that Sami Eito moved to?", "Sami Eito"),
        ("Were Scott Derrickson and Ed Wood of the same nationality?", "Scott Derrickson and Ed Wood"),
        ('Who sang in "Here We Go"?', "Here We Go"),
        ("what did he say", "say"),
        ("who is it?", "who is it?"),
    ],
)
def test_a_first_search_asks_for_the_names(question: str, query: str) -> None:
    assert make_query(question, "first-hop", True) == query
    assert make_query(question, "first-hop", False) == question
    assert make_query(question, "question", True) == question


def test_queries_that_are_given(tmp_path: Path) -> None:
    path = tmp_path / "questions_held_out.jsonl"
    rows = [
        {"id": "a", "question": "Who is it?", "answer": "He", "search_query": "names of kings"},
        {"id": "b", "question": "What is the capital of Peru?", "answer": "Lima", "search_query": " "},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cases, _ = load_cases([str(path)], split=None, limit=None, queries="given", hops=1, topk=2, seed=0)
    queries = {case.request.question.id: case.request.query for case in cases}
    assert queries == {"a": "names of kings", "b": "What is the capital of Peru?"}
