"""A training step of ours beside one of TRL's: `python -m benchmarks training`."""

from __future__ import annotations

from benchmarks.training.command import add_parser

__all__ = ["add_parser"]
