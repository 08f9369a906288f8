"""Whether the questions of a gate are really held out of what the simulator was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.likeness import words_of
from zs_env.measuring.cases import Case
from zs_env.questions.prepare.repeats import near_questions
from zs_env.tuning.records import EXAMPLES, Example, read_records
from zs_env.types import Question

__all__ = ["TrainingData", "check_trained_on", "find_training", "read_training", "split_seen"]

TRAIN_FILE = "train.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a simulator was trained on.

    Attributes:
        questions: Each question, by its id.
        texts: What it was to write, an example each.
        fingerprint: A short hash of the file.
    """

    questions: Mapping[str, Question]
    texts: Sequence[str]
    fingerprint: str


def find_training(given: str | None, questions: str) -> Path | None:
    """The file of training examples: as given, a file or a folder that holds it; or beside the questions.

    Args:
        given: A path, "none" if there is to be no such check, or None to look beside the questions.
        questions: The source of the questions.

    Raises:
        ConfigError: There is none where it was said to be, or none was said and none lies beside the questions.
    """
    if given == "none":
        return None
    if given is not None:
        path = Path(given).expanduser()
        path = path / TRAIN_FILE if path.is_dir() else path
        if not path.is_file():
            raise ConfigError(f"There is no file {str(path)!r}: --data takes the folder that `tune build` wrote.")
        return path
    beside = Path(questions).expanduser().parent / TRAIN_FILE
    if not questions.startswith("hf:") and beside.is_file():
        return beside
    raise ConfigError(
        f"There is no {TRAIN_FILE} beside {questions!r}, so it can't be seen whether these questions were held out. "
        "Give what the simulator was trained on as --data DIR, or --data none to go on without; gate.json then says so."
    )


def read_training(path: Path) -> TrainingData:
    """Read the examples that a simulator was trained on.

    Raises:
        ConfigError: The file can't be read, or holds nothing.
    """
    questions: dict[str, Question] = {}
    texts: list[str] = []
    example: Example
    for example in read_records(path, EXAMPLES):
        questions.setdefault(example.question.id, example.question)
        texts.extend(message["content"] for message in example.completion)
    if not texts:
        raise ConfigError(f"{str(path)!r} holds no examples: give the folder that the simulator was trained on.")
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return TrainingData(questions=questions, texts=texts, fingerprint=fingerprint)


def check_trained_on(training: TrainingData, simulator: Mapping[str, Any]) -> bool | None:
    """Whether a simulator says that it was trained on these very examples; None if it doesn't say on which.

    Raises:
        ConfigError: It was trained on others.
    """
    told = simulator.get("data")
    trained = told.get("train") if isinstance(told, Mapping) else None
    if trained is not None and trained != training.fingerprint:
        raise ConfigError(
            f"The simulator was trained on other examples (fingerprint {trained}) than those at hand "
            f"({training.fingerprint}), so these can't tell which questions are held out: give those as --data."
        )
    return None if trained is None else True


def split_seen(
    cases: Sequence[Case], training: TrainingData, *, leave_out: bool = False
) -> tuple[list[Case], dict[str, Any]]:
    """Leave out the searches of questions that the simulator was trained on, or nearly.

    Args:
        cases: What is to be asked.
        training: What the simulator was trained on.
        leave_out: Whether questions that are the very same are left out too, instead of refused.

    Returns:
        The searches that stay, and how many questions were left out and why, in plain JSON types.

    Raises:
        ConfigError: Some of the questions are the very same as trained ones, or none stays.
    """
    asked = {case.request.question.id: case.request.question for case in cases}
    trained = list({words_of(each.question): each for each in training.questions.values()}.values())
    known = {words_of(each.question) for each in trained}
    same = {one for one, each in asked.items() if words_of(each.question) in known}
    if same and not leave_out:
        shown = "; ".join(asked[one].question for one in sorted(same)[:3])
        raise ConfigError(
            f"{len(same)} of {len(asked)} questions are ones that the simulator was trained on, as: {shown}. Ask "
            "held-out ones (questions_held_out.jsonl of `tune build`), or leave those out with --leave-out-seen."
        )
    others = [one for one in asked if one not in same]
    both = [*trained, *(asked[one] for one in others)]
    repeats = near_questions([each.question for each in both], [each.golden_answers for each in both])[len(trained) :]
    near = {one for one, earlier in zip(others, repeats, strict=True) if any(place < len(trained) for place in earlier)}
    kept = [case for case in cases if case.request.question.id not in same | near]
    if not kept:
        raise ConfigError(
            f"All {len(asked)} questions repeat, or nearly repeat, ones that the simulator was trained on: none is "
            "left to ask. Give others with --questions."
        )
    shared = sum(one in training.questions and one not in same | near for one in asked)
    return kept, {"the same": len(same), "nearly the same": len(near), "an id shared, but other words": shared}
