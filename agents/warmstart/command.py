"""`python -m agents warmstart`: make the checkpoint that the quickstart starts from."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `warmstart` to the command line."""
    parser = commands.add_parser(
        "warmstart",
        help="make the small policy that the quickstart starts from",
        description="Make the small policy that the quickstart starts from, by supervised training on weak "
        "demonstrations with training entities alone. The defaults reproduce the checkpoint that ships.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must not exist")
    parser.add_argument("--seed", type=int, default=None, help="the seed of everything (0)")
    parser.add_argument("--num-steps", type=int, default=None, help="optimizer steps")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; a second one gains nothing here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Make and save it, telling how it goes."""
    if options.out.exists():
        raise ConfigError(f"{str(options.out)!r} exists already; name a folder that doesn't with --out, or remove it.")
    import torch

    from agents.warmstart.training import WarmStartSettings, warm_start

    torch.set_num_threads(options.threads)
    given = {name: getattr(options, name) for name in ("seed", "num_steps") if getattr(options, name) is not None}
    settings = replace(WarmStartSettings(), **given)

    def report(row: dict[str, Any]) -> None:
        accuracies = ", ".join(f"{kind} {row[kind]:.0%}" for kind in row if kind not in ("step", "loss", "seconds"))
        print(
            f"step {row['step']:>6} of {settings.num_steps}  {row['seconds']:6.0f} s  loss {row['loss']:.3f}  "
            f"right on unseen names: {accuracies}",
            flush=True,
        )

    warm_start(settings, options.out, report=report)
    print(f"The warm start is in {options.out}.")
