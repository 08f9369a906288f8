"""Counters of what searches used up, in a file or in memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from zs_env.engines.around.database import Database

__all__ = ["Ledger", "Spent"]

_KIND = 0x5A534231  # "ZSB1"
_ROUNDING = 1e-9
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (id INTEGER PRIMARY KEY CHECK (id = 0), requests INTEGER, tokens INTEGER, cost REAL) ;;
INSERT OR IGNORE INTO spent VALUES (0, 0, 0, 0.0)
"""


class Spent(NamedTuple):
    """Requests, tokens and money."""

    requests: int
    tokens: int
    cost: float


class Ledger:
    """Counts what was spent; one transaction a change, so that threads and processes can share it.

    Args:
        path: The file; None for memory.

    Raises:
        ConfigError: The file can't be used.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._database = Database(path, kind=_KIND, schema=_SCHEMA, what="search budget")

    def spent(self) -> Spent:
        """All of it."""
        with self._database.reading() as connection:
            return Spent(*connection.execute("SELECT requests, tokens, cost FROM spent").fetchone())

    def reserve(
        self,
        wanted: int,
        each: Spent,
        limits: tuple[int | None, int | None, float | None],
        *,
        all_or_nothing: bool = False,
    ) -> tuple[int, Spent]:
        """Put aside what so many searches will use, as far as the limits allow.

        Args:
            wanted: How many searches.
            each: What one of them will use.
            limits: The most requests, tokens and money; None for no limit.
            all_or_nothing: Whether less than `wanted` is to be nothing.

        Returns:
            For how many searches it was put aside, and what is spent with that.
        """
        with self._database.writing() as connection:
            spent = Spent(*connection.execute("SELECT requests, tokens, cost FROM spent").fetchone())
            admitted = wanted
            for limit, before, one in zip(limits, spent, each, strict=True):
                if limit is not None:
                    admitted = min(admitted, _room(limit - before, one))
            if all_or_nothing and admitted < wanted:
                admitted = 0
            after = Spent(*(before + admitted * one for before, one in zip(spent, each, strict=True)))  # type: ignore[arg-type]
            connection.execute("UPDATE spent SET requests = ?, tokens = ?, cost = ?", after)
        return admitted, after

    def add(self, more: Spent) -> None:
        """Count more; less where a number is negative."""
        with self._database.writing() as connection:
            connection.execute("UPDATE spent SET requests = requests + ?, tokens = tokens + ?, cost = cost + ?", more)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _room(left: float, one: float) -> int:
    """How many searches fit: as long as something is left, one more may begin."""
    if left <= _ROUNDING:
        return 0
    return 2**62 if one <= 0 else math.ceil(left / one - _ROUNDING)
