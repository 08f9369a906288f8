"""Errors of the `agents` package, under `zs_env`'s hierarchy.

ZeroSearchError
├── NonFiniteError (ArithmeticError)  logits, a loss or a gradient is NaN or infinite
├── RolloutError (RuntimeError)       too many episodes failed
├── ModelError (RuntimeError)         a model or tokenizer can't be loaded, or can't do what is asked of it
└── RunExistsError (FileExistsError)  a run folder would be overwritten

Wrong options are `zs_env.errors.ConfigError`, as everywhere.
"""

from __future__ import annotations

from zs_env.errors import ZeroSearchError

__all__ = ["ModelError", "NonFiniteError", "RolloutError", "RunExistsError"]


class NonFiniteError(ZeroSearchError, ArithmeticError):
    """Logits, a loss or a gradient is NaN or infinite; nothing was applied."""


class RolloutError(ZeroSearchError, RuntimeError):
    """More episodes failed than the settings allow."""


class ModelError(ZeroSearchError, RuntimeError):
    """A model or tokenizer can't be loaded, or lacks something that is asked of it."""


class RunExistsError(ZeroSearchError, FileExistsError):
    """A run folder holds something already."""
