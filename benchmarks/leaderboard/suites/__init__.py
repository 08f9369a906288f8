"""Suites: which questions a row of the leaderboard is about, each set pinned by revision, split, size and hash."""

from __future__ import annotations

from benchmarks.leaderboard.errors import SuiteError
from benchmarks.leaderboard.suites.loading import LoadedSet, load_set
from benchmarks.leaderboard.suites.pins import SetPin, Suite
from benchmarks.leaderboard.suites.suite import SUITES, load_suite, pin_suite, questions_suite, write_suite

__all__ = [
    "SUITES",
    "LoadedSet",
    "SetPin",
    "Suite",
    "SuiteError",
    "load_set",
    "load_suite",
    "pin_suite",
    "questions_suite",
    "write_suite",
]
