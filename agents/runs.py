"""A run's folder: its settings, curves, trajectories, checkpoints and summary.

    runs/<name>/
      config.json            every setting
      start.json             fingerprints of what the run began with
      before.json            the measurement before training
      metrics.jsonl          a line a training step: {"step", "metrics"}
      events.out.tfevents.*  the same curves, for TensorBoard
      trajectories.jsonl     sampled episodes, with every draw
      alarms.jsonl           what the alarm saw, if it saw something
      events.jsonl           what happened to processes, if something did
      checkpoints/           the newest of them: policy and training state; see `agents.checkpoints`
      checkpoint             a link to the newest: the policy, in Hugging Face format, and zerosearch.json: how it is
                             played
      base                   with LoRA over a local model: a link to it
      summary.json           before and after, in the benchmarks' schema
      report.html            all of it to look at
      .lock                  held by the process that writes the run

Nothing in it names this machine or its folders.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import torch

from agents.config_sections import SEARCH_AROUND
from agents.errors import RunBusyError, RunExistsError
from agents.policy import ADAPTER_CONFIG, SETTINGS_FILE
from agents.trajectory import Trajectory, write_trajectories
from zs_env.errors import ConfigError
from zs_env.files import remove, write_json

__all__ = [
    "CHECKPOINT_SCHEMA",
    "SCHEMA",
    "START_SCHEMA",
    "Logger",
    "RunFolder",
    "TensorBoardLogger",
    "checkpoint_settings",
    "describe_machine",
    "hold_lock",
    "read_checkpoint_settings",
    "write_json",
]

SCHEMA = "zerosearch.training/1"
"""The version of `summary.json`'s schema."""

CHECKPOINT_SCHEMA = "zerosearch.checkpoint/1"
"""The version of a checkpoint's `zerosearch.json`."""

START_SCHEMA = "zerosearch.start/1"
"""The version of `start.json`'s schema."""

_HALF = re.compile(r"\..+\.(json|html)\.\d+|\.(checkpoint|base)-link")
"""What a killed run was about to write: JSON, page or link."""

_PLAYED_BY = ("episode", "rollout", "search")


class Logger(Protocol):
    """Where metrics go. Others than TensorBoard plug in here."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step."""

    def rewind(self, step: int) -> None:
        """The run went back: what was logged of this step and of later ones counts no more."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoardLogger:
    """Writes TensorBoard's event files (its own writer would put this machine's name into the file's).

    Args:
        folder: Where to.
        first_step: Of a run that goes on, the step that comes next: TensorBoard then drops what earlier files say of it
            and of later ones.
    """

    def __init__(self, folder: Path, *, first_step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        self._event: Any = Event
        # TensorBoard reads the files in the order of their names.
        number = len(list(folder.glob("events.out.tfevents.*")))
        self._file = (folder / f"events.out.tfevents.{int(time.time())}.{number:04}.run").open("wb")
        self._writer: Any = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        if first_step is not None:
            self.rewind(first_step)

    def _write(self, **values: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **values).SerializeToString())
        self._file.flush()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar a metric."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
        self._write(step=step, summary=Summary(value=values))

    def rewind(self, step: int) -> None:
        """Let TensorBoard drop what it knows of this step and of later ones."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write(step=step, session_log=SessionLog(status=SessionLog.START))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunFolder:
    """Checks, then makes or takes up `<root>/<name>`. Nothing is made or deleted before `open`.

    Args:
        name: A plain name: letters, digits, dots, dashes and underscores.
        root: The folder of all runs.
        overwrite: Whether a run of that name may be replaced.
        resume: Whether the run of that name is to go on.

    Raises:
        ConfigError: The name is no plain name, or the root can't be written, or there is no run to go on with.
        RunExistsError: There is such a run, and it may not be replaced; or the folder holds something else.
    """

    def __init__(self, name: str, *, root: Path = Path("runs"), overwrite: bool = False, resume: bool = False) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            raise ConfigError(f"A run's name has letters, digits, '.', '-' and '_' only; got {name!r}.")
        if overwrite and resume:
            raise ConfigError("Give either --resume or --overwrite, not both: one goes on, the other begins anew.")
        self.name, self.root, self.resume = name, root, resume
        self.path = root / name
        self._overwrite = overwrite
        self._lock: IO[bytes] | None = None
        if resume:
            self._check_resumable()
        else:
            self._check()
        existing = next((folder for folder in (root, *root.absolute().parents) if folder.exists()), root)
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            raise ConfigError(
                f"No run can be made in {str(root)!r}: {str(existing)!r} is no folder that can be written."
            )

    def _check(self) -> bool:
        """Whether there is something to replace, having made sure that it may be."""
        if not self.path.exists() or (self.path.is_dir() and not self._content()):
            return False
        if not self._overwrite:
            raise RunExistsError(
                f"The run {str(self.path)!r} exists. Choose another --run-name, give --resume to go on with it, or "
                "--overwrite to replace it."
            )
        if not any((self.path / name).is_file() for name in ("config.json", "start.json")):
            raise RunExistsError(f"{str(self.path)!r} isn't a run's folder, so it is not replaced.")
        return True

    def _check_resumable(self) -> None:
        if not (self.path / "config.json").is_file():
            names = sorted(path.parent.name for path in self.root.glob("*/config.json"))
            there = f"Runs there: {', '.join(names)}." if names else "There are none."
            raise ConfigError(f"There is no run {self.name!r} in {str(self.root)!r} to go on with. {there}")
        if not (self.path / "start.json").is_file():
            raise ConfigError(
                f"The run {str(self.path)!r} was begun by a version that couldn't resume. Begin a new one from its "
                f"policy: --model {self.checkpoint}."
            )

    def _content(self) -> list[Path]:
        return [path for path in self.path.iterdir() if path.name != ".lock" and not _HALF.fullmatch(path.name)]

    def check_sources(self, *sources: str | None) -> None:
        """Refuse to replace the folder that a model or a question file is read from.

        Raises:
            RunExistsError: One of the sources lies in this folder.
        """
        if self.resume or not self._check():
            return
        folder = self.path.resolve()
        for source in sources:
            if source and Path(source).expanduser().resolve().is_relative_to(folder):
                raise RunExistsError(
                    f"{source!r} lies in {str(self.path)!r}, which --overwrite would delete. Choose another --run-name."
                )

    def open(self) -> None:
        """Make the folder, empty, or take it up as it is: what is replaced is deleted now and not before.

        From here on no other process can, until `close`.

        Raises:
            RunBusyError: Another process writes it.
            RunExistsError: See the class.
        """
        replaced = not self.resume and self._check()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = hold_lock(self.path / ".lock")
        if replaced:
            # What makes it a run's folder goes last, so that a kill in the middle leaves one that can be replaced.
            for path in sorted(self._content(), key=lambda path: path.name in ("config.json", "start.json")):
                remove(path)
        for path in list(self.path.iterdir()):
            if _HALF.fullmatch(path.name):
                remove(path)

    def close(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def is_open(self) -> bool:
        """Whether this process writes it."""
        return self._lock is not None

    @property
    def has_page_of_end(self) -> bool:
        """Whether its `report.html` shows the summary, too."""
        page, summary = self.path / "report.html", self.path / "summary.json"
        return page.exists() and page.stat().st_mtime_ns >= summary.stat().st_mtime_ns

    @property
    def checkpoint(self) -> Path:
        """Where the newest policy is to be found."""
        return self.path / "checkpoint"

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        write_json(self.path / name, record)

    def read(self, name: str) -> dict[str, Any]:
        """Read a JSON file; an empty record if it isn't there.

        Raises:
            ConfigError: It is broken.
        """
        return _read_record(self.path / name)

    def read_lines(self, name: str) -> list[Any]:
        """The records of a JSON-lines file; none if it isn't there."""
        path = self.path / name
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def add_line(self, name: str, record: Mapping[str, Any]) -> None:
        """Append a line to a JSON-lines file."""
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def add_trajectories(self, step: int, trajectories: Sequence[Trajectory]) -> None:
        """Append trajectories of a training step (0 is the first)."""
        write_trajectories(self.path / "trajectories.jsonl", trajectories, step=step)


def hold_lock(path: Path) -> IO[bytes]:
    """Hold a file's lock until it is closed. The kernel lets it go when the process ends, however it ends.

    Raises:
        RunBusyError: Another process holds it.
    """
    file = path.open("ab")
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise RunBusyError(
                f"The run {str(path.parent)!r} is being written by another process. Wait for it or stop it, or choose "
                "another --run-name."
            ) from error
    return file


def checkpoint_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its training, of a run's whole record: enough to play it as it was trained."""
    model = {key: record["model"][key] for key in ("dtype", "chat_template")}
    return {"schema": CHECKPOINT_SCHEMA, "model": model} | {name: _played(name, record[name]) for name in _PLAYED_BY}


def read_checkpoint_settings(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """The sections that a checkpoint was trained by: its own file's, else those of the run that it lies in.

    Returns:
        Section to key to value; nothing if the folder is no checkpoint of a run. Files that aren't ours are ignored.

    Raises:
        ConfigError: The file is broken, or of another version.
    """
    if not any((checkpoint / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        return {}
    own = _read_record(checkpoint / SETTINGS_FILE)
    schema = str(own.get("schema"))
    if schema == CHECKPOINT_SCHEMA:
        return {name: _played(name, own[name]) for name in ("model", *_PLAYED_BY) if isinstance(own.get(name), dict)}
    if schema.startswith(CHECKPOINT_SCHEMA.partition("/")[0] + "/"):
        raise ConfigError(
            f"{str(checkpoint / SETTINGS_FILE)!r} has schema {schema!r}; this version reads {CHECKPOINT_SCHEMA!r}."
        )
    run = _read_record(checkpoint.resolve().parent / "config.json")
    if not all(isinstance(run.get(name), dict) for name in ("run", "model", *_PLAYED_BY)):
        return {}
    model = {key: run["model"][key] for key in ("dtype", "chat_template") if key in run["model"]}
    return {"model": model} | {name: _played(name, run[name]) for name in _PLAYED_BY}


def _played(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A section without what was around the engine in training (its cache, its budget, …): that was for training."""
    return {key: value for key, value in values.items() if section != "search" or key not in SEARCH_AROUND}


def _read_record(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if there is no such file or it holds something else."""
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{str(path)!r} is no JSON: {error}. Mend it, or remove it to play without it.") from error
    return record if isinstance(record, dict) else {}


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
