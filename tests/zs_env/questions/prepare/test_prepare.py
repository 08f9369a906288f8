import json

import pytest

from zs_env.__main__ import main
from zs_env.errors import ConfigError, QuestionError
from zs_env.questions import load_questions
from zs_env.questions.prepare import PrepareSettings, Source, prepare

ROWS = [
    {"question": "Who wrote Emma?", "answer": "Jane Austen", "type": "book", "year": 1815},
    {"question": "who wrote emma", "answer": ["jane austen", "Austen"]},
    {"question": "who really wrote Emma", "answer": "Jane Austen"},
    {"question": "Which is older, Rome or Oslo?", "answer": "Rome", "year": "about -753"},
    {"question": "Is Oslo older than Rome?", "answer": False},
    {"question": "What does the text say?", "answer": "x" * 300},
]


def write(path, rows, more=""):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + more, encoding="utf-8")
    return path


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def settings(*paths, against=(), **more):
    return PrepareSettings(
        sources=tuple(Source(place=str(path)) for path in paths),
        against=tuple(Source(place=str(path)) for path in against),
        **more,
    )


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "books.jsonl", ROWS, '{"question": "cut off\n{"question": "What?"}\n[1]\n')


def test_questions_take_one_form(source, tmp_path):
    made = prepare(settings(source), tmp_path / "out")
    rows = read(tmp_path / "out" / "train.jsonl")
    assert [row["question"] for row in rows] == [ROWS[0]["question"], *(row["question"] for row in ROWS[3:])]
    assert rows[0]["golden_answers"] == ["Jane Austen", "Austen"]
    assert {row["data_source"] for row in rows} == {"books"}
    assert [row["year"] for row in rows] == ["1815", "about -753", None, None]  # of two types, so text
    assert [row["holds_answer"] for row in rows] == [False, True, False, False]
    assert [row["yes_no"] for row in rows] == [False, False, True, False]
    assert [row["overlong"] for row in rows] == [False, False, False, True]
    assert made.record["counts"] == {
        "read": 6, "malformed": 3, "id_clashes": 0, "exact_repeat": 1, "near_repeat": 1, "near_compared": 1,
    }  # fmt: skip
    assert made.record["sources"][0]["malformed"] == {"no answer": 1, "not JSON": 1, "not an object": 1}
    removed = read(tmp_path / "out" / "removed.jsonl")
    assert [row["why"] for row in removed] == ["exact_repeat", "near_repeat", "malformed", "malformed", "malformed"]
    assert removed[1]["repeats"]["question"] == "Who wrote Emma?"
    assert [row.get("row") for row in removed[2:]] == [7, 8, 9]
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())


def test_a_prepared_file_loads_with_the_same_fingerprint(source, tmp_path):
    for file_format in ("jsonl", "parquet"):
        if file_format == "parquet":
            pytest.importorskip("pyarrow")
        out = tmp_path / file_format
        record = prepare(settings(source, file_format=file_format), out).record
        questions = load_questions(out / f"train.{file_format}", "train")
        assert questions.fingerprint == record["splits"]["train"]["fingerprint"]
        assert questions[1].metadata["year"] == "about -753"


def test_one_malformed_row_is_an_error_where_that_is_asked(source, tmp_path):
    with pytest.raises(QuestionError, match="line 7: this isn't JSON"):
        prepare(settings(source, strict=True), tmp_path / "out")
    plain = write(tmp_path / "plain.jsonl", [{"question": "Who?"}])
    with pytest.raises(QuestionError, match=r"plain\.jsonl, line 1: there is no answer"):
        prepare(settings(plain, strict=True), tmp_path / "out")
    with pytest.raises(QuestionError, match="hold no question that can be read"):
        prepare(settings(plain), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_preparation_is_made_once(source, tmp_path):
    asked = settings(source, split_shares={"train": 0.5, "test": 0.5})
    first = prepare(asked, tmp_path / "one")
    content = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert not prepare(asked, tmp_path / "one").is_new
    assert prepare(asked, tmp_path / "one", force=True).is_new
    assert first.is_new
    assert content == {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    with pytest.raises(ConfigError, match="of other settings: seed 0, now 1"):
        prepare(settings(source, split_shares={"train": 0.5, "test": 0.5}, seed=1), tmp_path / "one")
    (tmp_path / "one" / "test.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"test.jsonl isn't as it was written"):
        prepare(asked, tmp_path / "one")


def test_a_source_that_changed_is_told(source, tmp_path):
    prepare(settings(source), tmp_path / "out")
    write(source, ROWS[:2])
    with pytest.raises(ConfigError, match=r"books\.jsonl has changed since"):
        prepare(settings(source), tmp_path / "out")
    source.unlink()
    assert prepare(settings(source), tmp_path / "out").notes == (
        "books.jsonl isn't there any more, so whether it has changed isn't known.",
    )


def test_nothing_of_others_is_replaced(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(ConfigError, match="holds no preparation"):
            prepare(settings(source), out, force=force)
    (out / "thesis.txt").unlink()
    prepare(settings(source), out)
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"it also holds thesis\.txt"):
        prepare(settings(source), out, force=True)
    assert (out / "thesis.txt").read_text() == "mine"


def test_what_stops_it_leaves_nothing(source, tmp_path):
    def stop(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(settings(source), tmp_path / "out", tell=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["books.jsonl"]


def test_a_folder_that_cannot_be_written_is_said(source):
    with pytest.raises(ConfigError, match=r"books\.jsonl/out can't be written"):
        prepare(settings(source), source / "out")


def test_given_splits_stay_and_training_is_kept_free_of_them(tmp_path):
    rows = [
        {"question": "who sang national anthem at the super bowl", "answer": "Pink", "split": "test"},
        {"question": "who sang national anthem at the super bowl", "answer": "Pink", "split": "test"},
        {"question": "who sang the american national anthem at the super bowl", "answer": "Pink", "split": "train"},
        {"question": "where does the last name waters come from", "answer": "Wales", "split": "train"},
        {"question": "where does the last name hansen come from", "answer": "Norway"},
    ]
    record = prepare(settings(write(tmp_path / "a.jsonl", rows)), tmp_path / "out").record
    assert {name: split["questions"] for name, split in record["splits"].items()} == {"train": 2, "test": 2}
    assert record["counts"]["evaluation_near"] == 1
    assert record["counts"]["held_exact_repeats"] == 1
    ids = [row["id"] for name in ("train", "test") for row in read(tmp_path / "out" / f"{name}.jsonl")]
    assert len(set(ids)) == 4
    only = prepare(
        PrepareSettings(sources=(Source(place=str(tmp_path / "a.jsonl"), split="train", into="dev"),)), tmp_path / "dev"
    )
    assert only.record["splits"]["dev"]["questions"] == 2
    with pytest.raises(ConfigError, match="write --into validation instead"):
        prepare(
            PrepareSettings(sources=(Source(place=str(tmp_path / "a.jsonl"), split="validation"),)), tmp_path / "no"
        )


def test_datasets_loads_the_folder(source, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for file_format in ("jsonl", "parquet"):
        out = tmp_path / file_format
        prepare(settings(source, split_shares={"train": 0.5, "dev": 0.5}, file_format=file_format), out)
        loaded = datasets.load_dataset(str(out))
        assert {name: len(rows) for name, rows in loaded.items()} == {"train": 2, "dev": 2}
        assert loaded["train"].features == loaded["dev"].features
        assert loaded["train"][0]["golden_answers"]
        again = load_questions(f"hf:{out}", "dev")
        assert again.fingerprint == load_questions(out / f"dev.{file_format}").fingerprint


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"split_shares": {"train": 0.9, "dev": 0.2}}, "must sum to 1"),
        ({"split_shares": {"train": 1.0, "dev": 0.0}}, "above 0"),
        ({"split_shares": {"a/b": 1.0}}, "can't be the name of a split"),
        ({"limit": 0}, "--limit is at least 1; got 0"),
        ({"drop": ("ugly",)}, "--drop is one of .*; got 'ugly'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(more, told):
    with pytest.raises(ConfigError, match=told):
        settings("a.jsonl", **more)
    with pytest.raises(ConfigError, match="nothing to prepare"):
        settings(**{name: value for name, value in more.items() if name == "seed"})


def test_the_command(source, tmp_path, capsys):
    evaluation = write(tmp_path / "evaluation.jsonl", [{"question": "is oslo older than rome", "answer": "no"}])
    command = [
        "questions",
        "prepare",
        "--from",
        str(source),
        "--limit",
        "5",
        "--data-source",
        "x",
        "--drop",
        "holds_answer",
    ]
    command += ["--against", str(evaluation), "--out", str(tmp_path / "out"), "--name", "Books"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "evaluation exact: 1" in told
    assert "holds answer: 1" in told
    card = (tmp_path / "out" / "README.md").read_text()
    assert "prepare --from books.jsonl --data-source x --against evaluation.jsonl --name Books" in card
    assert main(command) == 0
    assert "nothing was done" in capsys.readouterr().out
    assert main(["questions", "prepare", "--from", str(tmp_path / "nothing"), "--out", str(tmp_path / "o")]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--split", "train", "--from", "a.jsonl"], "write it behind the --from"),
        (["--from", "a.jsonl", "--revision", "v1"], "--revision is of a data set of the hub"),
        (["--from", "hf:a/b@v1", "--revision", "v2"], "--revision is of a data set of the hub without one"),
        (["--from", "a.jsonl", "--against", "b.jsonl", "--into", "dev"], "--into is of a --from"),
        (["--from", "a.jsonl", "--split-shares", "train"], "isn't NAME=SHARE"),
    ],
)
def test_a_wrong_command_line_is_said(arguments, told, capsys):
    with pytest.raises(SystemExit):
        main(["questions", "prepare", *arguments, "--out", "x"])
    assert told in capsys.readouterr().err
