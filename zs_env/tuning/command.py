"""`python -m zs_env tune`: make a fine-tuned simulator, a step at a time."""

from __future__ import annotations

from typing import Any

from zs_env.tuning import command_train

__all__ = ["add_parser"]

_STEPS = (command_train,)


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    top = commands.add_parser("tune", help="make a fine-tuned simulator: collect, label, build, train, gate")
    steps = top.add_subparsers(dest="action", required=True)
    for step in _STEPS:
        step.add_parser(steps)
