"""What a training keeps until it is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zs_env.errors import ConfigError
from zs_env.tuning.training_folder import TrainingFolder, differences

IDENTITY = {"settings": {"seed": 0}, "data": {"train": "abc"}}


def checkpoint(folder: TrainingFolder, step: int) -> Path:
    path = folder.checkpoints / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_the_last_whole_checkpoint_is_kept_alone(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "model", IDENTITY)
    assert folder.last_checkpoint() is None
    for step in (9, 10):
        checkpoint(folder, step)
        folder.mark(step, {"elapsed_s": step * 2.0, "done": False})
    checkpoint(folder, 11)  # cut off before its mark
    found = TrainingFolder(tmp_path / "model", IDENTITY).last_checkpoint()
    assert found == (folder.checkpoints / "checkpoint-10", {"step": 10, "elapsed_s": 20.0, "done": False})
    assert [path.name for path in folder.checkpoints.iterdir()] == ["checkpoint-10"]


def test_metrics_behind_the_checkpoint_are_dropped_torn_ones_too(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "model", IDENTITY)
    for step in range(1, 5):
        folder.measure({"step": step})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"ste')
    folder.cut_metrics(2)
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    TrainingFolder(tmp_path / "model", IDENTITY)
    with pytest.raises(ConfigError, match=r"data\.train: abc there, xyz here"):
        TrainingFolder(tmp_path / "model", {**IDENTITY, "data": {"train": "xyz"}})


def test_two_processes_don_t_train_in_one_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first, second = (TrainingFolder(tmp_path / "model", IDENTITY) for _ in range(2))
    with first.lock(), pytest.raises(ConfigError, match="Another process is training"), second.lock():
        pass
    with second.lock():
        pass


def test_differences_name_what_one_side_lacks() -> None:
    assert differences({"a": 1}, {"b": {"c": 2}}) == ["a: 1 there, None here", "b: None there, {'c': 2} here"]
