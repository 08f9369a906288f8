"""A run's folder: its settings, curves, trajectories, checkpoint and summary.

    runs/<name>/
      config.json            every setting
      events.out.tfevents.*  curves, for TensorBoard
      trajectories.jsonl     sampled episodes, with every draw
      checkpoint/            the policy, in Hugging Face format, and zerosearch.json: how it is played
      summary.json           before and after, in the benchmarks' schema

Nothing in it names this machine or its folders.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from agents.errors import RunExistsError
from agents.policy import SETTINGS_FILE
from agents.trajectory import Trajectory, write_trajectories
from zs_env.errors import ConfigError

__all__ = [
    "CHECKPOINT_SCHEMA",
    "SCHEMA",
    "Logger",
    "RunFolder",
    "TensorBoardLogger",
    "checkpoint_settings",
    "describe_machine",
    "read_checkpoint_settings",
    "write_json",
]

SCHEMA = "zerosearch.training/1"
"""The version of `summary.json`'s schema."""

CHECKPOINT_SCHEMA = "zerosearch.checkpoint/1"
"""The version of a checkpoint's `zerosearch.json`."""

_PLAYED_BY = ("episode", "rollout", "search")


class Logger(Protocol):
    """Where metrics go. Others than TensorBoard plug in here."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoardLogger:
    """Writes TensorBoard's event files (its own writer would put this machine's name into the file's)."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        self._event: Any = Event
        self._file = (folder / f"events.out.tfevents.{int(time.time())}.run").open("wb")
        self._writer: Any = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def _write(self, **values: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **values).SerializeToString())
        self._file.flush()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar a metric."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
        self._write(step=step, summary=Summary(value=values))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunFolder:
    """Checks, then makes and fills `<root>/<name>`. Nothing is made or deleted before `open`.

    Args:
        name: A plain name: letters, digits, dots, dashes and underscores.
        root: The folder of all runs.
        overwrite: Whether a run of that name may be replaced.

    Raises:
        ConfigError: The name is no plain name, or the root can't be written.
        RunExistsError: There is such a run, and it may not be replaced; or the folder holds something else.
    """

    def __init__(self, name: str, *, root: Path = Path("runs"), overwrite: bool = False) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            raise ConfigError(f"A run's name has letters, digits, '.', '-' and '_' only; got {name!r}.")
        self.path = root / name
        self._overwrite = overwrite
        self._check()
        existing = next((folder for folder in (root, *root.absolute().parents) if folder.exists()), root)
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            raise ConfigError(
                f"No run can be made in {str(root)!r}: {str(existing)!r} is no folder that can be written."
            )

    def _check(self) -> bool:
        """Whether there is something to replace, having made sure that it may be."""
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return False
        if not self._overwrite:
            raise RunExistsError(
                f"The run {str(self.path)!r} exists. Choose another --run-name, or give --overwrite to replace it."
            )
        if not (self.path / "config.json").is_file():
            raise RunExistsError(f"{str(self.path)!r} isn't a run's folder, so it is not replaced.")
        return True

    def check_sources(self, *sources: str | None) -> None:
        """Refuse to replace the folder that a model or a question file is read from.

        Raises:
            RunExistsError: One of the sources lies in this folder.
        """
        if not self._check():
            return
        folder = self.path.resolve()
        for source in sources:
            if source and Path(source).expanduser().resolve().is_relative_to(folder):
                raise RunExistsError(
                    f"{source!r} lies in {str(self.path)!r}, which --overwrite would delete. Choose another --run-name."
                )

    def open(self) -> None:
        """Make the folder, empty: what it replaces is deleted now and not before.

        Raises:
            RunExistsError: See the class.
        """
        if self._check():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """Where the policy is saved."""
        return self.path / "checkpoint"

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        write_json(self.path / name, record)

    def add_trajectories(self, step: int, trajectories: Sequence[Trajectory]) -> None:
        """Append trajectories of a training step (0 is the first)."""
        write_trajectories(self.path / "trajectories.jsonl", trajectories, step=step)


def checkpoint_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its training, of a run's whole record: enough to play it as it was trained."""
    model = {key: record["model"][key] for key in ("dtype", "chat_template")}
    return {"schema": CHECKPOINT_SCHEMA, "model": model} | {name: record[name] for name in _PLAYED_BY}


def read_checkpoint_settings(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """The sections that a checkpoint was trained by: its own file's, else those of the run that it lies in.

    Returns:
        Section to key to value; nothing if the folder is no checkpoint of a run. Files that aren't ours are ignored.

    Raises:
        ConfigError: The file is broken, or of another version.
    """
    if not (checkpoint / "config.json").is_file():
        return {}
    own = _read_record(checkpoint / SETTINGS_FILE)
    schema = str(own.get("schema"))
    if schema == CHECKPOINT_SCHEMA:
        return {name: dict(own[name]) for name in ("model", *_PLAYED_BY) if isinstance(own.get(name), dict)}
    if schema.startswith(CHECKPOINT_SCHEMA.partition("/")[0] + "/"):
        raise ConfigError(
            f"{str(checkpoint / SETTINGS_FILE)!r} has schema {schema!r}; this version reads {CHECKPOINT_SCHEMA!r}."
        )
    run = _read_record(checkpoint.resolve().parent / "config.json")
    if not all(isinstance(run.get(name), dict) for name in ("run", "model", *_PLAYED_BY)):
        return {}
    model = {key: run["model"][key] for key in ("dtype", "chat_template") if key in run["model"]}
    return {"model": model} | {name: run[name] for name in _PLAYED_BY}


def _read_record(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if there is no such file or it holds something else."""
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{str(path)!r} is no JSON: {error}. Mend it, or remove it to play without it.") from error
    return record if isinstance(record, dict) else {}


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def describe_machine() -> dict[str, Any]:
    """What speed depends on, and nothing that tells whose machine it is."""
    import transformers

    return {
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
