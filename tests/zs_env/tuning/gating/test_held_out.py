from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.zs_env.tuning.gating.simulators import held_out_cases
from zs_env.errors import ConfigError
from zs_env.tuning.gating.held_out import find_training, read_training, split_seen
from zs_env.tuning.records import EXAMPLES, Example
from zs_env.types import Question


def write_training(folder: Path, questions: Sequence[tuple[str, str]]) -> Path:
    path = folder / "train.jsonl"
    lines = [json.dumps({"schema": EXAMPLES})]
    for identifier, text in questions:
        example = Example(
            prompt=({"role": "user", "content": "Query"},),
            completion=({"role": "assistant", "content": f"Doc 1: about {text}"},),
            quality="useful",
            question=Question(id=identifier, question=text, golden_answers=("x",)),
            query=text,
            num_documents=1,
        )
        lines.append(json.dumps(example.to_json()))
    path.write_text("\n".join(lines) + "\n")
    return path


ASKED = [
    {"id": "1", "question": "What is the capital of Aldia?", "answer": "A"},
    {"id": "2", "question": "who was the first king of the old country of Bornovia in the north", "answer": "B"},
    {"id": "3", "question": "Where do storks sleep?", "answer": "C"},
]


def test_the_same_question_is_refused_or_left_out(tmp_path: Path) -> None:
    data = read_training(write_training(tmp_path, [("other", "what is the capital of ALDIA")]))
    cases = held_out_cases(tmp_path, ASKED)
    with pytest.raises(ConfigError, match=r"1 of 3 questions .* What is the capital of Aldia\?"):
        split_seen(cases, data)
    kept, left_out = split_seen(cases, data, leave_out=True)
    assert [case.request.question.id for case in kept] == ["2", "2", "3", "3"]
    assert left_out == {"the same": 1, "nearly the same": 0, "an id shared, but other words": 0}


def test_nearly_the_same_question_is_left_out(tmp_path: Path) -> None:
    near = "who was the first king of the old country of Bornovia in the north then"
    data = read_training(write_training(tmp_path, [("9", near), ("3", "What do foxes eat?")]))
    kept, left_out = split_seen(held_out_cases(tmp_path, ASKED), data)
    assert [case.request.question.id for case in kept] == ["1", "1", "3", "3"]
    assert left_out == {"the same": 0, "nearly the same": 1, "an id shared, but other words": 1}


def test_the_same_in_other_words_is_left_out(tmp_path: Path) -> None:
    trained = [("9", "who won the battle of the first battle of bull run")]
    data = read_training(write_training(tmp_path, trained))
    asked = [*ASKED, {"id": "4", "question": "who won the 1st battle of bull run", "answer": "x"}]
    kept, left_out = split_seen(held_out_cases(tmp_path, asked), data)
    assert {case.request.question.id for case in kept} == {"1", "2", "3"}
    assert left_out["nearly the same"] == 1


def test_nothing_left_to_ask(tmp_path: Path) -> None:
    data = read_training(write_training(tmp_path, [(row["id"], row["question"]) for row in ASKED]))
    with pytest.raises(ConfigError, match="All 3 questions"):
        split_seen(held_out_cases(tmp_path, ASKED), data, leave_out=True)


def test_where_the_training_data_is_looked_for(tmp_path: Path) -> None:
    questions = str(tmp_path / "questions_held_out.jsonl")
    with pytest.raises(ConfigError, match="--data none to go on without"):
        find_training(None, questions)
    assert find_training("none", questions) is None
    with pytest.raises(ConfigError, match="--data takes the folder"):
        find_training(str(tmp_path), questions)
    path = write_training(tmp_path, [("1", "Why?")])
    assert find_training(None, questions) == path
    assert find_training(str(tmp_path), "atlas") == path
    assert find_training(str(path), "hf:some/questions") == path


def test_an_empty_file_is_no_training_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no examples"):
        read_training(write_training(tmp_path, []))
