"""What learning gives, and what it owes to what: `python -m benchmarks learning`."""

from __future__ import annotations

from benchmarks.learning.command import add_parser

__all__ = ["add_parser"]
