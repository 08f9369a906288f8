"""Where the board's files are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FRESH", "MARKDOWN", "PAGE", "RECORDS", "shown"]

_ROOT = Path(__file__).parents[2]

FRESH = Path("runs") / "leaderboard"
"""Where `run` leaves records."""

RECORDS = _ROOT / "benchmarks" / "results" / "leaderboard"
"""The board's own records, which `submit` adds to."""

MARKDOWN = _ROOT / "docs" / "leaderboard_table.md"
"""The board's table."""

PAGE = _ROOT / "docs" / "board"
"""The board's page."""


def shown(path: Path) -> str:
    """A path as help and tables tell it: without the folders that lead to this checkout."""
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else str(path)
