"""The folder in which a training lies until it is done: what it is of, checkpoints that are whole, what was measured.

model.partial/
    training.json         settings and fingerprints: another training is refused
    plan.json             how long it may take, and the held-out losses before it
    metrics.jsonl         a line a step
    checkpoints/
        checkpoint-120/   what the trainer saves
            whole.json    written last: a checkpoint without it was cut off, and is deleted
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.files import remove, sync_tree, write_json, write_text

__all__ = ["SIMULATOR", "TrainingFolder", "differences", "read_json"]

SIMULATOR = "simulator.json"
"""The file that makes a folder a tuned simulator's."""

_MARK = "whole.json"


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object of a file; None where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two records, one text each.

    Examples:
        >>> differences({"seed": 0, "data": {"train": "a"}}, {"seed": 1, "data": {"train": "a"}})
        ['seed: 0 there, 1 here']
    """
    found: list[str] = []
    for name in sorted({*old, *new}):
        one, other = old.get(name), new.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{prefix}{name}.")
        elif one != other:
            found.append(f"{prefix}{name}: {one} there, {other} here")
    return found


class TrainingFolder:
    """Where a training keeps what it needs to go on.

    Args:
        out: Where the tuned model is to lie in the end.
        identity: What the training is of: settings, model and data.

    Attributes:
        path: The folder, `out` with `.partial` behind.
        checkpoints: Where the trainer saves.
        tensorboard: Where TensorBoard's files are written.

    Raises:
        ConfigError: A training of something else lies there.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        self.path = out.with_name(f"{out.name}.partial")
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        found = read_json(self.path / "training.json")
        if found is not None:
            told = differences(found, identity)
            if told:
                raise ConfigError(
                    f"A training of other settings was begun in {str(self.path)!r}: {'; '.join(told)}. Give the same "
                    "settings to go on with it, another --out, or delete that folder."
                )
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            if found is None:
                write_json(self.path / "training.json", identity)
        except OSError as error:
            raise ConfigError(f"The folder {str(self.path)!r} can't be written: {error}.") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out, where the system can.

        Raises:
            ConfigError: Another one is training there.
        """
        try:
            import fcntl
        except ImportError:
            yield
            return
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(
                    f"Another process is training in {str(self.path)!r}: wait until it is done, or stop it."
                ) from error
            yield

    @property
    def plan(self) -> dict[str, Any] | None:
        """What was settled before the first step."""
        return read_json(self.path / "plan.json")

    def settle(self, plan: Mapping[str, Any]) -> None:
        """Keep what was settled before the first step."""
        write_json(self.path / "plan.json", plan)

    def last_checkpoint(self) -> tuple[Path, dict[str, Any]] | None:
        """The last checkpoint that is whole, and its mark; the others are deleted."""
        whole: list[tuple[int, Path, dict[str, Any]]] = []
        for folder in self.checkpoints.glob("checkpoint-*"):
            mark = read_json(folder / _MARK)
            if mark is None:
                remove(folder)
            else:
                whole.append((int(mark["step"]), folder, mark))
        whole.sort(key=lambda entry: entry[0])
        for _, folder, _ in whole[:-1]:
            remove(folder)
        return (whole[-1][1], whole[-1][2]) if whole else None

    def mark(self, step: int, facts: Mapping[str, Any]) -> None:
        """Say that the checkpoint of a step is whole, once it is on the disk; the ones before it are kept."""
        folder = self.checkpoints / f"checkpoint-{step}"
        sync_tree(folder)
        write_json(folder / _MARK, {"step": step, **facts})

    def drop(self, step: int) -> None:
        """Delete the checkpoint of a step."""
        remove(self.checkpoints / f"checkpoint-{step}")

    def cut_metrics(self, step: int) -> None:
        """Drop what was measured behind a step: it is measured again."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a kill
        write_text(path, "".join(kept))

    def measure(self, row: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def delete(self) -> None:
        """Delete the folder, once the model lies in its place."""
        remove(self.path)
