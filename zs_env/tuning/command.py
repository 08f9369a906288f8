"""`python -m zs_env tune`: make a simulator of one's own, step by step."""

from __future__ import annotations

from typing import Any

from zs_env.tuning import (
    command_build,
    command_collect,
    command_domain,
    command_gate,
    command_label,
    command_quantise,
    command_train,
)

__all__ = ["STEPS", "add_parser"]

STEPS = (command_collect, command_label, command_build, command_train, command_gate, command_quantise, command_domain)
"""The modules of the steps, in the order in which they are taken; each has `add_parser(commands)`."""


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    top = commands.add_parser(
        "tune", help="make a simulator: collect searches, label their documents, train, and judge what was made"
    )
    steps = top.add_subparsers(dest="step", required=True)
    for step in STEPS:
        step.add_parser(steps)
