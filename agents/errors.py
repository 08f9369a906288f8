"""Errors of the `agents` package, under `zs_env`'s hierarchy.

ZeroSearchError
├── NonFiniteError (ArithmeticError)  logits, a loss or a gradient is NaN or infinite
├── RolloutError (RuntimeError)       too many episodes failed
├── HalfUpdatedError (RuntimeError)   an optimizer step broke off in the middle
├── TrainingError (RuntimeError)      a training step broke off, for example out of memory
├── WorkersLostError (RuntimeError)   processes of a run died or hang
├── CollapseError (RuntimeError)      the alarm stopped the run
├── CheckpointError (RuntimeError)    a checkpoint can't be written, or none can be read
├── ModelError (RuntimeError)         a model or tokenizer can't be loaded, or can't do what is asked of it
├── RunBusyError (RuntimeError)       another process writes the run
└── RunExistsError (FileExistsError)  a run folder would be overwritten

Wrong options are `zs_env.errors.ConfigError`, as everywhere.
"""

from __future__ import annotations

from typing import Any

from zs_env.errors import ZeroSearchError

__all__ = [
    "CheckpointError",
    "CollapseError",
    "HalfUpdatedError",
    "ModelError",
    "NonFiniteError",
    "RolloutError",
    "RunBusyError",
    "RunExistsError",
    "TrainingError",
    "WorkersLostError",
    "first_line",
]


class NonFiniteError(ZeroSearchError, ArithmeticError):
    """Logits, a loss or a gradient is NaN or infinite; nothing was applied."""


class RolloutError(ZeroSearchError, RuntimeError):
    """More episodes failed than the settings allow.

    Attributes:
        result: The `RolloutResult` with all of them, for whoever counts it as part of something larger; None if there
            is none.
        max_failure_rate: What the settings allow.
    """

    result: Any = None
    max_failure_rate: float = 0.0


class HalfUpdatedError(ZeroSearchError, RuntimeError):
    """An optimizer step broke off: the weights are neither those before it nor those after it."""


class TrainingError(ZeroSearchError, RuntimeError):
    """A training step broke off; the message says what is saved and how to go on."""


class WorkersLostError(ZeroSearchError, RuntimeError):
    """Processes that a run needs died or hang: its weights in memory are lost, those of its checkpoints are not."""


class CollapseError(ZeroSearchError, RuntimeError):
    """The alarm stopped the run, after its policy was saved."""


class CheckpointError(ZeroSearchError, RuntimeError):
    """A checkpoint can't be written, or none can be read."""


class ModelError(ZeroSearchError, RuntimeError):
    """A model or tokenizer can't be loaded, or lacks something that is asked of it."""


class RunBusyError(ZeroSearchError, RuntimeError):
    """Another process writes the run."""


class RunExistsError(ZeroSearchError, FileExistsError):
    """A run folder holds something already."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
