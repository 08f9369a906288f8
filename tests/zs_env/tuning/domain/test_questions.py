from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, say
from tests.zs_env.tuning.domain.library import ARTICLES, passage, write_rows
from zs_env.__main__ import main
from zs_env.engines import make_engine
from zs_env.engines.retrieval import RetrievalEngine
from zs_env.errors import ConfigError
from zs_env.questions import load_questions
from zs_env.tuning.domain.candidates import Candidate
from zs_env.tuning.domain.choosing import Tally, choose, problem_of
from zs_env.tuning.domain.corpus import Passage, write_corpus
from zs_env.tuning.domain.questions import QuestionSettings, make_questions
from zs_env.tuning.domain.splitting import Shares, near_across, split_documents

LAMP = passage("The lamp of the hut was made by Cid Doe in 1931. It is not a yes or no thing.")


EVERYTHING = QuestionSettings(rules=("encyclopedic",), max_per_passage=9)


def candidate(question: str, *answers: str, key: str = LAMP.id, pattern: str = "p") -> Candidate:
    return Candidate(question=question, answers=answers, pattern=pattern, passage=key)


@pytest.mark.parametrize(
    ("question", "answers", "problem"),
    [
        ("Who made the lamp?", ("Cid Doe",), None),
        ("When was the lamp of Cid Doe made?", ("Cid Doe",), "in the question"),
        ("Who made the lamp?", ("Gus Hale",), "isn't in the passage"),
        ("Who made the lamp?", ("Cid Doe", "Gus Hale"), "isn't in the passage"),
        ("Is it a lamp?", ("yes",), "the answer is yes or no"),
        ("What is it?", ("lamp of the hut was made by Cid Doe",), "longer than 5 words"),
        ("What is it?", ("...",), "the answer is no words"),
    ],
)
def test_a_candidate_holds_or_says_why_not(question: str, answers: tuple[str, ...], problem: str | None) -> None:
    found = problem_of(candidate(question, *answers), LAMP, 5)
    assert found is None if problem is None else problem in str(found)


def chosen(
    tmp_path: Path, passages: list[Passage], candidates: list[Candidate], **more: int
) -> tuple[list[str], Tally]:
    write_corpus(tmp_path / "corpus.jsonl", passages)
    engine = make_engine("bm25", corpus=str(tmp_path / "corpus.jsonl"), say=lambda line: None)
    assert isinstance(engine, RetrievalEngine)
    options = {"topk": 1, "max_per_passage": 3, "max_answer_words": 8, **more}
    tally = Tally()
    kept = choose(candidates, {one.id: one for one in passages}, engine, tally=tally, **options)
    return [one.candidate.question for one in kept], tally


def test_equal_questions_merge_if_they_agree_and_fall_if_they_do_not(tmp_path: Path) -> None:
    one = passage("Fog was directed by Kai Lind and Bo Ek.", title="Fog", key="1")
    two = passage("Fog was directed by Bo Ek. Snow was directed by Max Hall.", title="Fog and snow", key="2")
    three = passage("Snow was directed by Ole Bo.", title="Snow", key="3")
    given_ = [
        candidate("Who directed Fog?", "Kai Lind", "Bo Ek", key="1"),
        candidate("who directed fog", "Bo Ek", key="2"),
        candidate("Who directed Snow?", "Max Hall", key="2"),
        candidate("Who directed Snow?", "Ole Bo", key="3"),
    ]
    questions, tally = chosen(tmp_path, [one, two, three], given_, topk=2)
    assert questions == ["Who directed Fog?"]
    assert tally.counts == {
        "the same question and answer again": 1,
        "the same question has different answers elsewhere": 2,
    }
    assert "Who directed Snow? → Max Hall" in tally.examples["the same question has different answers elsewhere"]


def test_a_question_that_does_not_find_its_passage_falls(tmp_path: Path) -> None:
    far = passage("Some words on Cid Doe.", title="Another", key="2", source="b")
    given_ = [candidate("Who made the lamp of the hut?", "Cid Doe"), candidate("Lamp of the hut?", "Cid Doe", key="2")]
    questions, tally = chosen(tmp_path, [LAMP, far], given_)
    assert questions == ["Who made the lamp of the hut?"]
    assert tally.counts == {"BM25 doesn't find its passage among 1": 1}


def test_of_many_questions_natural_ones_of_rare_kinds_stay(tmp_path: Path) -> None:
    given_ = [
        candidate("Gap: lamp of the hut ____", "1931", pattern="cloze/number"),
        candidate("Lamp hut maker?", "Cid Doe", pattern="common"),
        candidate("Hut lamp maker who?", "Cid Doe", pattern="common"),
        candidate("When was the lamp made?", "1931", pattern="rare"),
    ]
    questions, tally = chosen(tmp_path, [LAMP], given_, max_per_passage=2)
    assert questions == ["Lamp hut maker?", "When was the lamp made?"]
    assert tally.counts == {"its passage has 2 questions already": 2}


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 5))
def test_documents_are_split_whole_and_about_as_asked(sizes: dict[str, int], seed: int) -> None:
    split = split_documents(sizes, Shares(dev=0.1, test=0.2), seed)
    assert split.keys() == sizes.keys()
    assert split == split_documents(dict(reversed(sizes.items())), Shares(dev=0.1, test=0.2), seed)
    total = sum(sizes.values())
    for name, share in (("dev", 0.1), ("test", 0.2)):
        got = sum(size for document, size in sizes.items() if split[document] == name)
        assert got <= share * total + max(sizes.values())


def test_near_questions_in_two_splits_are_told() -> None:
    texts = ["Who directed the film Blind Man?", "who directed the film Blind man", "Who directed the film Blind Man?!"]
    assert near_across(texts, ["train", "train", "test"]) == [(0, 2), (1, 2)]
    with pytest.raises(ConfigError, match=r"dev=0\.5 and test=0\.5"):
        Shares(dev=0.5, test=0.5)


def test_articles_become_a_question_file_split_by_document(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "articles.jsonl", ARTICLES)
    out = tmp_path / "domain"
    report = make_questions(out, EVERYTHING, passages=corpus)
    whole = load_questions(out / "questions.jsonl")
    assert report["num_kept"] == len(whole) == report["num_candidates"] - sum(report["num_dropped"].values())
    assert report["fingerprint"] == whole.fingerprint
    found = {one.question: one for one in (whole[at] for at in range(len(whole)))}
    assert found["Who was the mother of Ada Holm?"].golden_answers == ("Dora Holmholm",)
    assert found["Who directed the film Fog?"].golden_answers == ("Ole Bo",)
    splits: dict[str, set[str]] = {}
    for name in ("train", "dev", "test"):
        part = load_questions(out / "questions.jsonl", name)
        splits[name] = {part[at].metadata["source"] for at in range(len(part))}
        assert report["splits"][name] == {"questions": len(part), "documents": len(splits[name])}
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["dev"]
    assert make_questions(out, EVERYTHING) == {**report, "is_new": False}
    with pytest.raises(ConfigError, match="topk was 5 and is 2"):
        make_questions(out, QuestionSettings(rules=("encyclopedic",), max_per_passage=9, topk=2))
    with pytest.raises(ConfigError, match="other passages"):
        make_questions(out, QuestionSettings(), passages=write_rows(tmp_path / "less.jsonl", ARTICLES[:3]))


def test_wrong_settings_and_a_missing_corpus_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="topk is at least 1; got 0"):
        QuestionSettings(topk=0)
    with pytest.raises(ConfigError, match="got poetry"):
        QuestionSettings(rules=("cloze", "poetry"))
    with pytest.raises(ConfigError, match="make passages first"):
        make_questions(tmp_path, QuestionSettings())
    with pytest.raises(ConfigError, match="from rules"):
        make_questions(tmp_path, QuestionSettings(rules=()))
    corpus = write_rows(tmp_path / "c.jsonl", [{"title": "A", "text": "nothing to ask of here"}])
    with pytest.raises(ConfigError, match="let a model write questions"):
        make_questions(tmp_path / "out", QuestionSettings(), passages=corpus)


def teacher(seen: Seen) -> Do:
    """Asks who directed films, answers one of its questions by heart, and writes nonsense of people."""
    system = seen.body["messages"][0]["content"]
    if "exam questions" not in system:
        return say("I think it was Kai Lind." if "Red Snow" in seen.prompt else "No idea.")
    if "directed by" not in seen.prompt:
        return say("What a nice passage!" if "Holm" in seen.prompt else "Question: Who is it?\nAnswer: The Pope")
    name = seen.prompt.split("Passage: ")[1].split(" (")[0]
    who = seen.prompt.split("directed by ")[1].split(" and")[0]
    return say(f"**Question:** Who made the film {name}?\n**Answer:** {who}.")


def test_a_model_writes_questions_and_goes_on_where_it_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_rows(tmp_path / "articles.jsonl", ARTICLES)
    out = tmp_path / "domain"
    asked = ["tune", "domain", "questions", str(out), "--passages", str(corpus), "--llm-model", "teacher"]
    stop_after = 4

    def interrupting(seen: Seen) -> Do:
        return teacher(seen) if seen.number < stop_after else Do("close")

    with FaultServer(interrupting) as server:
        given_ = ["--llm-url", server.base_url, "--llm-option", "max_retries=0", "--concurrency", "1"]
        main([*asked, *given_])
        capsys.readouterr()
    kept = len((out / "asked.jsonl").read_text().splitlines()) - 1
    assert 0 < kept < len(ARTICLES)
    with FaultServer(teacher) as server:
        given_ = ["--llm-url", server.base_url, "--llm-option", "max_retries=0", "--concurrency", "2"]
        assert main([*asked, *given_, "--again"]) == 0
        captured = capsys.readouterr()
        assert f"{kept} of 8 passages were asked about before" in captured.err
        assert len(server.chats) <= (8 - kept) * 2
        assert main([*asked, *given_]) == 0
        assert "done before" in capsys.readouterr().out
    report = json.loads((out / "questions.json").read_text())
    assert report["asked"] == {"asked": 8, "no question in the reply": 1, "known without the passage": 1}
    assert report["num_kept"] == 3
    assert report["num_dropped"] == {"the answer isn't in the passage word for word": 4}
    questions = [load_questions(out / "questions.jsonl")[at] for at in range(3)]
    assert {one.question: one.metadata["closed_book"] for one in questions} == {
        "Who made the film Red Snow?": True,
        "Who made the film Blue Rain?": False,
        "Who made the film Fog?": False,
    }
    assert "127.0.0.1" not in (out / "asked.jsonl").read_text() + (out / "questions.json").read_text()


def test_a_model_that_is_not_there_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"title": f"T{number}", "text": f"passage {number} of many"} for number in range(25)]
    corpus = write_rows(tmp_path / "c.jsonl", rows)
    with FaultServer(Do("close")) as server:
        given_ = ["--llm-url", server.base_url, "--llm-model", "m", "--llm-option", "max_retries=0"]
        status = main(["tune", "domain", "questions", str(tmp_path / "d"), "--passages", str(corpus), *given_])
    assert status == 2
    assert "20 requests in a row failed" in capsys.readouterr().err
