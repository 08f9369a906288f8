"""Errors of the leaderboard, under the project's hierarchy.

ZeroSearchError
└── ConfigError (ValueError)
    ├── SuiteError    a suite is malformed, or its questions aren't those that it pins
    └── RecordError   a record can't be read, or isn't one
"""

from __future__ import annotations

from zs_env.errors import ConfigError

__all__ = ["RecordError", "SuiteError"]


class SuiteError(ConfigError):
    """A suite is malformed, or the questions that were found aren't those that it pins."""


class RecordError(ConfigError):
    """A record can't be read, or isn't one."""
