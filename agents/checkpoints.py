"""Checkpoints of a run: a policy that can be played, with everything that training goes on from.

    runs/<name>/
      checkpoints/
        step-000020/           after 20 training steps: model, tokenizer, zerosearch.json
          training_state.pt    optimizers, critic, generators, alarm, seconds, and how long the run's files were
          learners/            with `executor = "ray"`: what the learners keep of optimizers and critic
      checkpoint               a link to the newest

A checkpoint is written into a hidden folder, brought to the disk, and then renamed: one that has its name is whole. It
is read without running code that it might hold (`torch.load(weights_only=True)`).
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.errors import CheckpointError, WorkersLostError, first_line
from agents.policy import Policy
from zs_env.files import point_to, remove, sync_folder, sync_tree

__all__ = ["STATE_FILE", "STATE_SCHEMA", "Checkpoints", "generator_states", "read_state", "restore_generators"]

STATE_SCHEMA = "zerosearch.training_state/1"
"""The version of `training_state.pt`."""

STATE_FILE = "training_state.pt"

_NAME = re.compile(r"step-(\d{6,})")


class Checkpoints:
    """The checkpoints of a run.

    Args:
        run: The run's folder.
        keep: How many of the newest stay.
    """

    def __init__(self, run: Path, *, keep: int = 1) -> None:
        self.folder = run / "checkpoints"
        self.link = run / "checkpoint"
        self._keep = keep

    def all(self) -> list[Path]:
        """All of them, the newest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=self.step_of, reverse=True)

    @staticmethod
    def step_of(path: Path) -> int:
        """How many training steps a checkpoint has behind it."""
        match = _NAME.fullmatch(path.name)
        assert match is not None
        return int(match[1])

    @property
    def newest(self) -> Path | None:
        """The newest; None if there is none yet."""
        return next(iter(self.all()), None)

    def save(
        self,
        policy: Policy,
        state: Mapping[str, Any],
        *,
        settings: Mapping[str, Any],
        executor_state: Callable[[Path], Mapping[str, Any]] | None = None,
        prune: bool = True,
    ) -> Path:
        """Write a checkpoint, make it the newest, and delete those that are too old.

        Args:
            policy: What is trained.
            state: What training goes on from, of plain types and tensors. `"step"` says how many steps it has had.
            settings: See `Policy.save`.
            executor_state: See `Executor.save_state`; what it gives is kept as `"executor"`.
            prune: Whether old ones are deleted.

        Returns:
            Its folder.

        Raises:
            CheckpointError: It can't be written; the others are as before, as after the next one.
            WorkersLostError: Who keeps a part of the state is lost.
        """
        final = self.folder / f"step-{state['step']:06}"
        if final.is_dir():
            return final
        temporary: Path | None = None
        try:
            self.folder.mkdir(exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=self.folder))
            policy.write(temporary, settings=settings)
            kept = {**state, "executor": executor_state(temporary)} if executor_state else state
            with (temporary / STATE_FILE).open("wb") as file:
                record = {"schema": STATE_SCHEMA, **kept, "weights": policy.fingerprints()["model"]}
                torch.save(record, file)
            sync_tree(temporary)
            temporary.rename(final)
            sync_folder(self.folder)
            point_to(self.link, final)
        except WorkersLostError:
            raise
        except Exception as error:  # what libraries raise at a full disk has many types
            good = f"the last good one is {self.newest}" if self.newest else "there is none yet"
            raise CheckpointError(
                f"The checkpoint of step {state['step']} can't be written to {self.folder}: {_reason(error)}. Nothing "
                f"else was changed; {good}."
            ) from error
        finally:
            if temporary is not None:
                remove(temporary)
        if prune:
            self.prune()
        return final

    def prune(self) -> None:
        """Delete all but the newest; a kill in the middle leaves no half of one under its name."""
        for old in self.all()[self._keep :]:
            hidden = old.with_name(f".old-{old.name}")
            remove(hidden)
            old.rename(hidden)
            remove(hidden)

    def tidy(self) -> None:
        """Delete what killed runs left of checkpoints that they were writing or deleting, and mend the link."""
        if self.folder.is_dir():
            for path in self.folder.glob(".*"):
                remove(path)
        newest = self.newest
        if newest is not None and self.link.resolve() != newest.resolve():
            point_to(self.link, newest)

    def set_aside(self, path: Path) -> Path:
        """Rename a checkpoint that can't be read, so that it is none."""
        aside = path.with_name(f"{path.name}.broken")
        remove(aside)
        return path.rename(aside)


def _reason(error: BaseException) -> str:
    """What the system said, where a library covered it up."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno is not None:
            return str(found)
        found = found.__cause__ or found.__context__
    return str(error) or type(error).__name__


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What `Checkpoints.save` was given as the state.

    Raises:
        CheckpointError: It can't be read, or is of another version.
    """
    path = checkpoint / STATE_FILE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for what is no such file
        raise CheckpointError(f"{str(path)!r} can't be read: {first_line(error)}") from error
    schema = state.get("schema") if isinstance(state, dict) else None
    if not isinstance(state, dict) or schema != STATE_SCHEMA:
        raise CheckpointError(f"{str(path)!r} has schema {schema!r}; this version reads {STATE_SCHEMA!r}.")
    return state


def generator_states() -> dict[str, Any]:
    """The states of all global generators. Training draws from none of them; what is plugged into it may."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, following = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.tensor(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), gauss],
        "python": [version, list(internal), following],
    }


def restore_generators(states: Mapping[str, Any]) -> None:
    """Take back what `generator_states` gave."""
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, internal, following = states["python"]
    random.setstate((version, tuple(internal), following))
