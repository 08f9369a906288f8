"""Errors that users meet, one hierarchy.

    ZeroSearchError
    ├── ConfigError (ValueError)         an option or a combination of options is wrong
    ├── QuestionError (ValueError)       a question, a question file or a row in it is wrong
    ├── EpisodeStateError (RuntimeError) an episode or env was driven out of order
    ├── ActionError (TypeError)          an action is not text
    ├── RewardError (ValueError)         a reward is not a finite number
    ├── EngineContractError (RuntimeError) a search engine broke the protocol
    └── MissingPackageError (ImportError)  an optional package is not installed

A message says the offending value, the rule, and the way out. A search that fails is *not* an exception: engines report
failures inside their results (`SearchResult.error`).
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "ActionError",
    "ConfigError",
    "EngineContractError",
    "EpisodeStateError",
    "MissingPackageError",
    "QuestionError",
    "RewardError",
    "ZeroSearchError",
    "require",
]


class ZeroSearchError(Exception):
    """Base class of every error that this project raises on purpose."""


class ConfigError(ZeroSearchError, ValueError):
    """An option, or a combination of options, is wrong."""


class QuestionError(ZeroSearchError, ValueError):
    """A question, a question file or one of its rows is wrong."""


class EpisodeStateError(ZeroSearchError, RuntimeError):
    """An episode or an environment was driven out of order, for example stepped before its reset."""


class ActionError(ZeroSearchError, TypeError):
    """An action is not text."""


class RewardError(ZeroSearchError, ValueError):
    """A reward function returned something other than a finite number."""


class EngineContractError(ZeroSearchError, RuntimeError):
    """A search engine broke the protocol, for example returned fewer results than it was asked for."""


class MissingPackageError(ZeroSearchError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""


def require(module: str, *, needed_for: str, install: str) -> ModuleType:
    """Import an optional module, or say how to install it.

    Args:
        module: The name to import, for example `"pyarrow.parquet"`.
        needed_for: What the caller wants it for, as a phrase: `"reading parquet files"`.
        install: The command that installs it.

    Raises:
        MissingPackageError: The module can't be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{needed_for} needs the package {module.partition('.')[0]!r}, which can't be imported ({error}). "
            f"Install it with: {install}"
        ) from error
