import contextlib
import copy
import json
import os
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zs_env.errors import ConfigError, MissingPackageError, QuestionError
from zs_env.questions import QuestionList, load_questions
from zs_env.questions.rows import as_questions
from zs_env.types import Question, QuestionSource

ROW = {"question": "Who wrote Emma?", "answer": "Jane Austen"}


def write(folder, name, content):
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8")
    return path


def jsonl(folder, *rows, name="data.jsonl"):
    return write(folder, name, "".join(json.dumps(row) + "\n" for row in rows))


def parquet(folder, rows, name="data.parquet"):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.Table.from_pylist(rows)
    pytest.importorskip("pyarrow.parquet").write_table(table, folder / name)
    return folder / name


def one(rows):
    return next(as_questions(enumerate(rows, start=1), where="rows", stem="q"))


# Shapes of rows.


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q?", "answer": "A"},
        {"question": "Q?", "answer": ["A"]},
        {"Question": "Q?", "Answers": ["A"]},
        {"QUESTION": "Q?", "GOLDEN_ANSWERS": ["A"]},
        {" question ": " Q? ", "answer": " A "},
        {"query": "Q?", "answer": "A"},
        {"input": "Q?", "answer": "A"},
        {"problem": "Q?", "answer": "A"},
        {"question": "Q?", "ground_truth": "A"},
        {"question": "Q?", "ground_truth": {"target": ["A"]}},
        {"question": "Q?", "answers": {"text": ["A", "A"], "answer_start": [3, 40]}},
        {"question": "Q?", "answer": {"value": "A", "aliases": ["A"]}},
        {"question": "Q?", "answer": None, "golden_answers": ["A"]},
        {"question": None, "query": "Q?", "answer": "A"},
        {"question": "Q?", "answer": float("nan"), "reward_model": {"ground_truth": "A", "style": "rule"}},
        {"question": "Q?", "reward_model": {"style": "rule", "ground_truth": {"target": ["A"]}}},
        {"prompt": [{"role": "user", "content": "Q?"}], "answer": "A"},
        {
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "For example, <answer> Beijing </answer>. Question: Q?\n"},
            ],
            "reward_model": {"ground_truth": {"target": ["A"]}},
        },
        {"prompt": "Question: Q?", "answer": "A"},
    ],
)
def test_shapes_that_people_have(row):
    question = one([row])
    assert question.question == "Q?"
    assert question.golden_answers == ("A",)
    assert question.id == "q-1"


def test_several_answers_keep_their_order_and_lose_repetitions():
    assert one([{"question": "Q?", "answer": ["b", "a", "b ", 3, 2.0, 0.5]}]).golden_answers == (
        "b",
        "a",
        "3",
        "2",
        "0.5",
    )


def test_truth_values_are_yes_and_no():
    assert one([{"question": "Q?", "answer": True}]).golden_answers == ("yes",)
    assert one([{"question": "Q?", "answer": False}]).golden_answers == ("no",)


def test_other_plain_columns_are_kept_as_metadata():
    row = {
        **ROW,
        "Type": "bridge",
        "data_source": "nq",
        "level": 3,
        "context": ["long"],
        "nothing": None,
        "split": "dev",
    }
    assert one([row]).metadata == {"type": "bridge", "data_source": "nq", "level": 3, "split": "dev"}


def test_metadata_of_a_saved_question_comes_back(tmp_path):
    saved = load_questions("atlas", "test")[0]
    row = {
        "id": saved.id,
        "question": saved.question,
        "golden_answers": list(saved.golden_answers),
        "metadata": dict(saved.metadata),
    }
    assert load_questions(jsonl(tmp_path, row))[0] == saved


def test_short_texts_of_metadata_are_shared(tmp_path):
    questions = load_questions(jsonl(tmp_path, {**ROW, "data_source": "nq_open"}, {**ROW, "data_source": "nq_open"}))
    assert questions[0].metadata["data_source"] is questions[1].metadata["data_source"]


def test_ids():
    rows = [{**ROW, "id": "x"}, {**ROW, "ID": 7}, {**ROW, "id": None}, ROW]
    assert [q.id for q in as_questions(enumerate(rows, start=1), where="w", stem="file")] == [
        "x",
        "7",
        "file-3",
        "file-4",
    ]


def test_lone_surrogates_become_replacement_characters(tmp_path):
    path = write(
        tmp_path, "data.jsonl", '{"id": "\\ud800", "question": "a\\ud800?", "answer": "b\\udfff", "note": "\\ud800"}'
    )
    [question] = load_questions(path)
    assert question == Question(
        id="\ufffd", question="a\ufffd?", golden_answers=("b\ufffd",), metadata={"note": "\ufffd"}
    )
    question.question.encode()


# Malformed rows: the error names where, what and the way out.


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "", "answer": "A"}, "the question in column 'question' is empty"),
        ({"question": "  ", "answer": "A"}, "the question in column 'question' is empty"),
        ({"question": 3, "answer": "A"}, "must be a text; it is int: 3"),
        ({"prompt": [], "answer": "A"}, "must be a text; it is list"),
        ({"question": "Q?", "answer": ""}, "an answer in column 'answer' is empty"),
        ({"question": "Q?", "answer": []}, "there is no answer in column 'answer'"),
        ({"question": "Q?", "answers": {"text": []}}, "there is no answer in column 'answers'"),
        ({"question": "Q?", "answer": ["A", ""]}, "an answer in column 'answer' is empty"),
        ({"question": "Q?", "answer": ["A", None]}, r"it is missing \(null or NaN\)"),
        ({"question": "Q?", "answer": [float("nan")]}, r"it is missing \(null or NaN\)"),
        ({"question": "Q?", "answer": float("inf")}, "it is float: inf"),
        ({"question": "Q?", "answer": b"A"}, "it is bytes"),
        ({"question": "Q?", "answer": {"a": 1}}, "an object with none of target, text"),
        ({"question": "Q?", "answer": None}, r"there is no answer\. Columns found: 'question', 'answer' \(empty\)\."),
        ({"question": "Q?", "reply": "A"}, r"there is no answer\. Columns found: 'question', 'reply'\. A row needs"),
        ({"text": "Q?", "answer": "A"}, r"there is no question\. Columns found: 'text', 'answer'\. A row needs"),
        ({"question": float("nan"), "answer": "A"}, r"there is no question\. Columns found: 'question' \(empty\)"),
        ({}, r"there is no question\. Columns found: none\."),
        (["Q?", "A"], "this is list, not an object with columns"),
        ("Q?", "this is str, not an object with columns"),
    ],
)
def test_malformed_rows(tmp_path, row, message):
    with pytest.raises(QuestionError, match=r"^the sequence of questions, item 2: .*" + message):
        load_questions([ROW, row])


def test_answers_nested_without_end():
    deep = "A"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(QuestionError, match="nested more than 8 levels deep"):
        one([{"question": "Q?", "answer": deep}])


def test_duplicate_ids_name_both_rows(tmp_path):
    path = jsonl(tmp_path, {**ROW, "id": "a"}, {**ROW, "id": "b"}, {**ROW, "id": "a"})
    with pytest.raises(QuestionError, match=r"data\.jsonl, line 3: the id 'a' is that of line 1 already"):
        load_questions(path)


# Files.


def test_jsonl_with_bom_blank_lines_and_windows_ends(tmp_path):
    line = json.dumps(ROW).encode()
    path = write(tmp_path, "My Data.jsonl", b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n" + line)
    questions = load_questions(path)
    assert [q.id for q in questions] == ["My Data-1", "My Data-4"]
    assert questions.name == "My Data.jsonl"


@pytest.mark.parametrize("content", [[ROW, ROW], {"data": [ROW, ROW]}, {"version": 1, "data": [ROW, ROW]}])
def test_json(tmp_path, content):
    questions = load_questions(write(tmp_path, "data.json", json.dumps(content)))
    assert [q.id for q in questions] == ["data-1", "data-2"]


def test_csv(tmp_path):
    text = 'Question,Answer,kind\n"Who, when?",Ada,x\nHow?,"[""b"", ""c""]",\n"two\nlines?",[sic] d,y\n'
    questions = load_questions(write(tmp_path, "data.csv", b"\xef\xbb\xbf" + text.encode()))
    assert [(q.question, q.golden_answers, q.metadata) for q in questions] == [
        ("Who, when?", ("Ada",), {"kind": "x"}),
        ("How?", ("b", "c"), {}),
        ("two\nlines?", ("[sic] d",), {"kind": "y"}),
    ]
    assert [q.id for q in questions] == ["data-2", "data-3", "data-5"]


def test_tsv(tmp_path):
    [question] = load_questions(write(tmp_path, "data.tsv", "question\tanswer\nWho, when?\t3\n"))
    assert (question.question, question.golden_answers) == ("Who, when?", ("3",))


def test_parquet_of_zerosearch_and_search_r1(tmp_path):
    rows = [
        {
            "id": f"train_{i}",
            "question": "total number of death row inmates in the us?",
            "golden_answers": ["2,718", "2718"],
            "data_source": "nq",
            "prompt": [{"role": "user", "content": "Answer the given question. Question: total?"}],
            "ability": "fact-reasoning",
            "reward_model": {"ground_truth": {"target": ["2,718"]}, "style": "rule"},
            "extra_info": {"index": i, "split": "train"},
        }
        for i in range(3)
    ]
    questions = load_questions(parquet(tmp_path, rows))
    assert [q.id for q in questions] == ["train_0", "train_1", "train_2"]
    assert questions[0].golden_answers == ("2,718", "2718")
    assert questions[0].metadata == {"data_source": "nq", "ability": "fact-reasoning"}
    without = [{key: row[key] for key in ("prompt", "reward_model")} for row in rows]
    [first, *_] = load_questions(parquet(tmp_path, without, "without.parquet"))
    assert (first.id, first.question, first.golden_answers) == ("without-1", "total?", ("2,718",))


def test_parquet_of_numbers(tmp_path):
    questions = load_questions(
        parquet(tmp_path, [{"question": "a?", "answer": 1999.0}, {"question": "b?", "answer": 2.5}])
    )
    assert [q.golden_answers for q in questions] == [("1999",), ("2.5",)]


def test_parquet_rows_are_numbered_across_batches(tmp_path):
    rows = [{"question": f"q{i}?", "answer": "a"} for i in range(5_000)] + [{"question": "", "answer": "a"}]
    with pytest.raises(QuestionError, match=r"data\.parquet, row 5001: the question in column 'question' is empty"):
        load_questions(parquet(tmp_path, rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "holds no questions"),
        ("a.jsonl", "\n\n", "holds no questions"),
        (
            "a.jsonl",
            '{"question": "Q?", "answer": "A"}\n{"question": ',
            r"a\.jsonl, line 2: this isn't JSON: .* at column",
        ),
        ("a.jsonl", '[{"question": "Q?"}]', r"a\.jsonl, line 1: this is list, not an object"),
        ("a.jsonl", b'{"question": "caf\xe9", "answer": "A"}', r"a\.jsonl, line 1: byte 18 \(b'\\xe9'\) isn't UTF-8"),
        ("a.jsonl", "{}".encode("utf-16"), r"line 1: this is UTF-16. Save the file as UTF-8"),
        ("a.jsonl", "[" * 100_000, r"line 1: this JSON can't be read|isn't JSON"),
        ("a.jsonl", '{"question": "Q?", "answer": ' + "9" * 5_000 + "}", r"line 1: this JSON can't be read: Exceeds"),
        ("a.json", "", r"a\.json: this isn't JSON"),
        ("a.json", "[]", "holds no questions"),
        ("a.json", '{"rows": []}', r"holds an object with the keys 'rows'\. The file must hold a list"),
        ("a.json", '"text"', "holds 'text'. The file must hold a list"),
        ("a.json", '{"question": "Q?", "answer": "A"}\n{"question": "Q?", "answer": "A"}', r"name it \.jsonl if"),
        ("a.csv", "", "holds no questions"),
        ("a.csv", "question,answer\n", "holds no questions"),
        ("a.csv", "Q?,A\nR?,B\n", r"a\.csv, line 2: there is no question\. Columns found: 'q\?', 'a'"),
        ("a.csv", "question,answer\nWho, when?,A\n", r"a\.csv, line 2: there are more cells than columns"),
        (
            "a.csv",
            "question,answer\nQ?,\n",
            r"line 2: there is no answer\. Columns found: 'question', 'answer' \(empty\)",
        ),
        ("a.csv", "question,answer\nQ?,\"['a', 'b']\"\n", r"line 2: .* looks like a list but isn't JSON"),
        ("a.csv", b"question,answer\nQ?,caf\xe9\n", r"a\.csv, line 2: byte 7 .*isn't UTF-8"),
        ("a.csv", 'question,answer\n"Q?,A\n', r"a\.csv, line \d: this isn't valid csv"),
        ("a.parquet", b"not parquet", r"a\.parquet isn't a readable parquet file"),
        ("a.parquet", b"", r"a\.parquet isn't a readable parquet file"),
    ],
)
def test_malformed_files(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(QuestionError, match=message):
        load_questions(write(tmp_path, name, content))


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no file .*nowhere\.jsonl"):
        load_questions(tmp_path / "nowhere.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"There is no file .*folder\.jsonl"):
        load_questions(tmp_path / "folder.jsonl")
    with pytest.raises(ConfigError, match=r"known endings are \.jsonl, .*\.parquet"):
        load_questions(write(tmp_path, "data.txt", "x"))


@pytest.mark.parametrize("source", ["atlsa", "Atlas", "", 3, None, b"atlas", {"question": "Q?"}])
def test_unknown_sources_name_what_exists(source):
    with pytest.raises(ConfigError, match=r"'atlas' \(splits train, validation, test\)|known endings"):
        load_questions(source)


def test_pyarrow_is_asked_for_only_when_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingPackageError, match=r"reading parquet files needs .*pip install pyarrow"):
        load_questions(write(tmp_path, "a.parquet", b"PAR1"))


# Splits.


def test_a_column_named_split_divides_a_file(tmp_path):
    path = jsonl(tmp_path, {**ROW, "split": "train"}, {**ROW, "split": "dev"}, {**ROW, "split": "train"})
    assert [q.id for q in load_questions(path, "train")] == ["data-1", "data-3"]
    assert load_questions(path, "dev").split == "dev"
    assert len(load_questions(path)) == 3
    with pytest.raises(ConfigError, match=r"data\.jsonl has no split 'test': its column 'split' has 'train', 'dev'"):
        load_questions(path, "test")


def test_a_split_of_a_file_without_splits_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"has no split 'test': it has no column 'split'"):
        load_questions(jsonl(tmp_path, ROW), "test")


def test_a_source_is_returned_as_it_is():
    source = load_questions("atlas", "train")
    assert load_questions(source) is source
    assert load_questions(source, "train") is source
    with pytest.raises(ConfigError, match="'atlas' holds the split 'train', not 'test'"):
        load_questions(source, "test")


def test_a_source_of_ones_own_is_returned_as_it_is():
    class Own:
        name, split, fingerprint = "own", None, "0"

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return Question(id="1", question="Q?", golden_answers=("A",))

    own = Own()
    assert load_questions(own) is own


def test_rows_and_questions_in_memory():
    question = Question(id="x", question="Q?", golden_answers=("A", "B"), metadata={"hops": 2})
    questions = load_questions([question, ROW])
    assert questions[0] == question
    assert questions[1].id == "row-2"
    with pytest.raises(QuestionError, match="item 1: there is no answer"):
        load_questions([{"question": "Q?", "golden_answers": []}])
    with pytest.raises(QuestionError, match="is empty"):
        load_questions([])


def test_hub_data_sets_need_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match="pip install"):
        load_questions("hf:someone/qa", "test")


# The source.


def test_a_file_is_read_once_until_it_changes(tmp_path):
    path = jsonl(tmp_path, ROW)
    first = load_questions(path)
    assert load_questions(str(path)) is first
    jsonl(tmp_path, ROW, {**ROW, "question": "Another?"})
    assert len(load_questions(path)) == 2


def test_a_source_is_sized_indexable_picklable_and_shared(tmp_path):
    questions = load_questions(jsonl(tmp_path, ROW, {**ROW, "question": "B?"}))
    assert isinstance(questions, QuestionSource)
    assert len(questions) == 2
    assert [q.question for q in questions] == ["Who wrote Emma?", "B?"]
    assert questions[-1].question == "B?"
    assert questions[:1] == (questions[0],)
    with pytest.raises(IndexError):
        questions[2]
    assert copy.deepcopy(questions) is questions
    again = pickle.loads(pickle.dumps(questions))
    assert (list(again), again.name, again.fingerprint) == (list(questions), questions.name, questions.fingerprint)
    assert repr(questions) == "QuestionList(name='data.jsonl', 2 questions)"


def test_fingerprints_tell_contents_apart():
    base = Question(id="1", question="Q?", golden_answers=("a", "b"))
    others = [
        [base, base],
        [Question(id="2", question="Q?", golden_answers=("a", "b"))],
        [Question(id="1", question="Q", golden_answers=("a", "b"))],
        [Question(id="1", question="Q?", golden_answers=("ab",))],
        [Question(id="1", question="Q?", golden_answers=("b", "a"))],
        [Question(id="1Q", question="?", golden_answers=("a", "b"))],
        [],
    ]
    prints = {QuestionList(questions, name="x").fingerprint for questions in [[base], *others]}
    assert len(prints) == 1 + len(others)
    same = Question(id="1", question="Q?", golden_answers=("a", "b"), metadata={"note": "ignored"})
    assert QuestionList([same], name="y").fingerprint == QuestionList([base], name="x").fingerprint


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
names = st.sampled_from(
    ["id", "question", "Query", "prompt", "answer", "answers", "reward_model", "metadata"]
) | st.text(max_size=8)


@given(st.lists(st.dictionaries(names, values, max_size=5) | values, max_size=4))
@settings(deadline=None)
def test_any_rows_give_questions_or_a_question_error(rows):
    questions = []
    with contextlib.suppress(QuestionError):
        questions += as_questions(enumerate(rows), where="rows", stem="q")
    for question in questions:
        assert question.question.strip()
        assert question.golden_answers
        json.dumps(dict(question.metadata))
        "".join((question.id, question.question, *question.golden_answers)).encode()


@pytest.mark.skipif("ZS_TEST_DATA" not in os.environ, reason="ZS_TEST_DATA names no folder with the real files")
@pytest.mark.parametrize(("name", "size"), [("nq_open_dev.jsonl", 3_610), ("hotpotqa_dev_first4000.jsonl", 4_000)])
def test_real_files(name, size):
    assert len(load_questions(Path(os.environ["ZS_TEST_DATA"]) / name)) == size
