"""What a simulator's searches are worth: `python -m benchmarks simulator`."""

from __future__ import annotations

from benchmarks.simulator.command import add_parser

__all__ = ["add_parser"]
