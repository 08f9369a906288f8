from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.zs_env.tuning.searches import searches, write_labelled
from zs_env.__main__ import main
from zs_env.questions import load_questions
from zs_env.tuning.records import EXAMPLES, read_records


def build(folder: Path, *more: str) -> int:
    labelled = folder / "labelled.jsonl"
    if not labelled.exists():
        write_labelled(labelled, searches())
    arguments = ["tune", "build", str(labelled), "--out", str(folder / "sft"), "--min-likeness", "0", *more]
    return main(arguments)


def test_a_folder_of_examples_with_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path, "--held-out", "0.3", "--json", str(tmp_path / "figures.json")) == 0
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "sft" / "build.json").read_text())
    train = list(read_records(tmp_path / "sft" / "train.jsonl", EXAMPLES))
    assert record["train"]["num_examples"] == len(train) > 0
    assert record["topk"] == 5
    assert f"train: {len(train)} examples" in said
    assert record == json.loads((tmp_path / "figures.json").read_text())
    questions = load_questions(tmp_path / "sft" / "questions_held_out.jsonl")
    assert len(questions) == record["num_questions_held_out"] == 3
    assert questions[0].metadata["search_query"] == questions[0].question
    card = (tmp_path / "sft" / "README.md").read_text()
    assert "tune build labelled.jsonl --out DIR --min-likeness 0.0 --held-out 0.3" in card
    assert str(tmp_path) not in json.dumps(record) + card


def test_the_same_again_is_done_and_another_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path) == 0
    before = (tmp_path / "sft" / "train.jsonl").read_bytes()
    assert build(tmp_path) == 0
    assert "is built already" in capsys.readouterr().out
    assert build(tmp_path, "--seed", "3") != 0
    assert "seed 0, now 3" in capsys.readouterr().err
    assert (tmp_path / "sft" / "train.jsonl").read_bytes() == before
    assert build(tmp_path, "--seed", "3", "--force") == 0
    assert (tmp_path / "sft" / "train.jsonl").read_bytes() != before


def test_examples_that_were_changed_are_not_built_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path) == 0
    path = tmp_path / "sft" / "train.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert build(tmp_path) != 0
    assert "isn't what was built" in capsys.readouterr().err
    assert build(tmp_path, "--force") == 0


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "mine.txt").write_text("mine")
    assert build(tmp_path) != 0
    assert "wasn't built by this command" in capsys.readouterr().err
    assert (tmp_path / "sft" / "mine.txt").read_text() == "mine"


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labelled.jsonl").write_text('{"question": "Who?"}\n')
    assert build(tmp_path) != 0
    assert "zerosearch.labelled/1" in capsys.readouterr().err
    (tmp_path / "labelled.jsonl").unlink()
    write_labelled(tmp_path / "labelled.jsonl", searches())
    assert main(["tune", "build", *[str(tmp_path / "labelled.jsonl")] * 2, "--out", str(tmp_path / "sft")]) != 0
    assert "more than once" in capsys.readouterr().err


def test_a_path_that_cant_be_written_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sft").write_text("a file")
    assert build(tmp_path, "--out", str(tmp_path / "sft" / "below")) == 2
    assert f"error: {tmp_path / 'sft'}: File exists" in capsys.readouterr().err
    assert build(tmp_path, "--out", str(tmp_path / "made"), "--json", str(tmp_path / "nowhere" / "x.json")) == 2
    assert "No such file or directory" in capsys.readouterr().err
