from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.assertions import Verdict, asked_fact, check_document
from benchmarks.atlas_passages import passages, write_passages
from benchmarks.retrieval import answerable, render_atlas, score_answers, score_assertions
from tests.zs_env.engines.around.doubles import bad, request
from zs_env.engines import TemplateEngine
from zs_env.errors import ConfigError
from zs_env.questions.atlas import SPLITS, load_atlas
from zs_env.types import Document, Question, SearchRequest, SearchResult


def asked(question: str, *golden: str, **changes: Any) -> SearchRequest:
    return request(question, question=Question(id=question, question=question, golden_answers=golden), **changes)


def found(*texts: str) -> SearchResult:
    return SearchResult(documents=tuple(map(Document, texts)), engine="double")


def test_recall_and_precision_worked_out_by_hand() -> None:
    searches = [
        (asked("capital of France", "Paris"), found("Lyon", "Paris is it", "in Paris")),  # first hit at 2
        (asked("author of Hamlet", "Shakespeare"), found("by Shakespeare")),  # 1 of 1
        (asked("capital of Peru", "Lima"), found("Cusco", "Quito", "Arequipa")),  # never
        (asked("capital of Chad", "N'Djamena"), found()),  # found nothing: a miss, not a failure
        (asked("capital of Mali", "Bamako"), bad()),  # left out
    ]
    scores = score_answers(searches, ks=(1, 3))
    assert (scores["n"], scores["failed"]) == (5, 1)
    assert scores["recall"]["1"]["value"] == 1 / 4
    assert scores["recall"]["3"]["value"] == 2 / 4
    assert scores["precision"]["1"]["value"] == 1 / 4
    assert scores["precision"]["3"]["value"] == 3 / 12  # 2 + 1 + 0 + 0 of 4 × 3 places
    low, high = scores["recall"]["3"]["ci"]
    assert low < 0.5 < high


def test_a_title_counts_as_the_document() -> None:
    result = SearchResult(documents=(Document("It is a city.", "Paris"),), engine="double")
    assert score_answers([(asked("capital of France", "Paris"), result)], ks=(1,))["recall"]["1"]["hits"] == 1


def test_what_a_corpus_can_answer() -> None:
    requests = [asked("capital of France", "Paris"), asked("capital of Peru", "Lima"), asked("is it so", "yes")]
    assert answerable(requests, ["Paris is large.", "Yes."]) == [True, False, None]


FACT = load_atlas().world("test").facts["Belgium", "capital"]


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("The capital of Belgium is Brussels.", True, False),
        ("The capital of Belgium is Antwerp.", False, True),
        ("Belgium's capital, Antwerp, is a port.", False, True),
        ("Antwerp is a port. Brussels is the capital of Belgium.", True, False),
        ("The capital of Belgium is large.", False, False),
        ("The capital of France is Paris.", False, False),
        ("Belgium lies near Paris.", False, False),
        ("The capital of Belgium is Brussels, not Antwerp.", True, False),
        ("The capital of Belgium is Antwerp.\nThe capital of Belgium is Brussels.", True, True),
        ("", False, False),
    ],
)
def test_what_a_document_asserts(text: str, right: bool, wrong: bool) -> None:
    assert check_document(FACT, text) == Verdict(right, wrong)


def test_a_longer_name_isn_t_taken_for_a_shorter_one() -> None:
    for split in SPLITS:
        facts = load_atlas().world(split).facts
        if ("Guinea", "capital") in facts:
            fact = facts["Guinea", "capital"]
            assert check_document(fact, "The capital of Equatorial Guinea is Malabo.") == Verdict(False, False)
            assert check_document(fact, "The capital of Guinea is Malabo.") == Verdict(False, True)
            return
    pytest.fail("Guinea isn't in the atlas")


def test_codes_and_domains_are_looked_for_as_they_are_written() -> None:
    facts = load_atlas().world("test").facts
    code, domain = facts["Belgium", "calling_code"], facts["Belgium", "domain"]
    assert check_document(code, "The calling code of Belgium is +32.") == Verdict(True, False)
    assert check_document(code, "The calling code of Belgium is +33.") == Verdict(False, True)
    assert check_document(code, "Belgium has a calling code and 11 million people.") == Verdict(False, False)
    assert check_document(domain, "The internet domain of Belgium is .be.") == Verdict(True, False)
    assert check_document(domain, "The internet domain of Belgium is .in.") == Verdict(False, True)
    assert check_document(domain, "In Belgium the internet domain is in use.") == Verdict(False, False)


def test_every_fact_of_the_atlas_is_right_by_its_own_sentences_and_wrong_by_no_other() -> None:
    for split in SPLITS:
        for fact in list(load_atlas().world(split).facts.values())[::40]:
            for phrasing in range(3):
                assert check_document(fact, fact.sentence(phrasing)) == Verdict(True, False), fact.sentence(phrasing)


def test_the_template_engine_asserts_nothing_wrong_on_the_atlas() -> None:
    questions = [q for q in load_atlas().world("test").questions if q.metadata["hops"] == 1][:60:2]
    requests = [request(q.question, question=q, seed=seed) for seed, q in enumerate(questions)]
    scores = score_assertions(list(zip(requests, TemplateEngine().search_now(requests), strict=True)))
    assert scores["wrong"]["hits"] == 0
    assert scores["right"]["hits"] == 30  # one document of each reply
    assert scores["searches_wrong"] == {"value": 0.0, "hits": 0, "n": 30, "ci": scores["searches_wrong"]["ci"]}


def test_wrong_documents_are_counted() -> None:
    [question] = [
        q for q in load_atlas().world("test").questions if q.metadata["facts"] == [["Belgium", "capital", "Brussels"]]
    ][:1]
    wrong, right = "The capital of Belgium is Paris.", "The capital of Belgium is Brussels."
    asks = request("x", question=question)
    scores = score_assertions([(asks, found(wrong, wrong, "Fog.")), (asks, found(right)), (asks, bad())])
    assert [scores[name]["value"] for name in ("right", "wrong", "silent")] == [0.25, 0.5, 0.25]
    assert scores["searches_wrong"]["value"] == 0.5
    assert scores["failed"] == 1
    row = scores | {"engine": "e", "kind": "simulated", "quality": "useful"}
    assert "| e (simulated) | useful | 25.0 %" in render_atlas({"rows": [row]})


def test_other_questions_have_no_known_facts() -> None:
    with pytest.raises(ConfigError, match="one hop"):
        asked_fact(Question(id="1", question="who?", golden_answers=("I",)))


def test_the_atlas_as_passages(tmp_path: Path) -> None:
    facts, entities = list(passages("facts")), list(passages("entities"))
    assert len(facts) == sum(len(load_atlas().world(split).facts) for split in SPLITS)
    assert len({row["id"] for row in facts}) == len(facts)
    assert sorted(" ".join(r["text"] for r in facts if r["id"].startswith("test-Belgium-"))) == sorted(
        next(row["text"] for row in entities if row["title"] == "Belgium")
    )
    file = write_passages("entities", tmp_path)
    written = file.stat().st_mtime_ns
    assert write_passages("entities", tmp_path) == file
    assert file.stat().st_mtime_ns == written
    assert json.loads(file.read_text().splitlines()[0]) == entities[0]
    with pytest.raises(ConfigError):
        list(passages("pages"))  # type: ignore[arg-type]


def test_the_command_on_a_small_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bm25s")
    monkeypatch.setenv("ZS_CACHE", str(tmp_path / "cache"))
    corpus, questions, file = tmp_path / "c.jsonl", tmp_path / "q.jsonl", tmp_path / "r.json"
    corpus.write_text('{"text": "Lima is the capital of Peru."}\n{"text": "Chess is a game."}\n')
    rows = [("What is the capital of Peru?", "Lima"), ("What is the capital of Mars?", "Gusev")]
    questions.write_text("".join(json.dumps({"question": q, "golden_answers": [a]}) + "\n" for q, a in rows))
    flags = ["--engine", "bm25", "--k", "1", "2", "--atlas-limit", "0", "--json", str(file)]
    assert main(["retrieval", "--corpus", str(corpus), "--questions", str(questions), *flags]) == 0
    record = json.loads(file.read_text())
    assert record["real"]["answerable"]["value"] == 0.5
    bm25, template = record["real"]["rows"]
    assert bm25["recall"]["1"]["value"] == 1.0
    assert bm25["precision"]["2"]["value"] == 0.5
    assert (template["engine"], template["kind"]) == ("template", "simulated")
    assert "50.0 %" in capsys.readouterr().out
    assert main(["retrieval", "--corpus", str(corpus)]) == 2
