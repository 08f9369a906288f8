"""Errors that users meet, one hierarchy.

    ZeroSearchError
    ├── ConfigError (ValueError)         an option or a combination of options is wrong
    ├── QuestionError (ValueError)       a question, a question file or a row in it is wrong
    ├── EpisodeStateError (RuntimeError) an episode or env was driven out of order
    ├── ActionError (TypeError)          an action is not text
    ├── RewardError (ValueError)         a reward is not a finite number
    ├── EngineContractError (RuntimeError) a search engine broke the protocol
    ├── ServiceError (RuntimeError)      a server that was asked gave no usable reply
    │   └── ChatError                    a chat server did
    ├── ServerError (RuntimeError)       a simulator server couldn't be started, or crashed too often
    ├── TuningError (RuntimeError)       the tuning of a simulator can't go on
    ├── BudgetError (RuntimeError)       the budget for searches is used up, and the run is to stop
    └── MissingPackageError (ImportError)  an optional package is not installed

A message says the offending value, the rule, and the way out. A search that fails is *not* an exception: engines report
failures inside their results (`SearchResult.error`). `BudgetError` is the one exception that an engine may raise: it
ends the run, where whatever else an engine raises is a failed search.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

__all__ = [
    "ActionError",
    "BudgetError",
    "ChatError",
    "ConfigError",
    "EngineContractError",
    "EpisodeStateError",
    "MissingPackageError",
    "QuestionError",
    "RewardError",
    "ServerError",
    "ServiceError",
    "TuningError",
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


class BudgetError(ZeroSearchError, RuntimeError):
    """The budget for searches is used up, and its owner wants the run to stop then."""


class ServiceError(ZeroSearchError, RuntimeError):
    """A server that an engine asked gave no usable reply; the engine puts the message into its result.

    Attributes:
        retried: Whether trying the same server again may help.
        is_down: Whether the server couldn't be reached or didn't reply in time.
        retry_after_s: How long the server asks to wait, in seconds, if it says so.
        retries: How many requests were made again before this was given up.
    """

    def __init__(
        self, message: str, *, retried: bool = False, is_down: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.retries = 0
        self.retried = retried
        self.is_down = is_down
        self.retry_after_s = retry_after_s

    def again(self) -> ServiceError:
        """The same error as a new object, to be raised to one more caller."""
        return type(self)(str(self), retried=self.retried, is_down=self.is_down, retry_after_s=self.retry_after_s)


class ChatError(ServiceError):
    """A chat server gave no usable reply, nor did a model in this process."""


class ServerError(ZeroSearchError, RuntimeError):
    """A simulator server couldn't be started, or crashed too often.

    Attributes:
        log: The log of its last start; None if it wasn't even started.
    """

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class TuningError(ZeroSearchError, RuntimeError):
    """The tuning of a simulator can't go on: its loss is no number, or the memory doesn't suffice."""


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
