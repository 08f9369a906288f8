"""`python -m benchmarks`: measure."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from benchmarks import (
    cost,
    curve,
    decoding,
    fanout,
    kernels,
    latency,
    learning,
    planning,
    quantisation,
    retrieval,
    scaling,
    simulator,
    throughput,
    training,
    transfer,
    utilisation,
)
from benchmarks.leaderboard import command as leaderboard
from zs_env.errors import ZeroSearchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description="Honest measurements, one command each.")
    commands = top.add_subparsers(dest="command", required=True)
    leaderboard.add_parser(commands)
    throughput.add_parser(commands)
    fanout.add_parser(commands)
    latency.add_parser(commands)
    cost.add_parser(commands)
    retrieval.add_parser(commands)
    transfer.add_parser(commands)
    training.add_parser(commands)
    utilisation.add_parser(commands)
    kernels.add_parser(commands)
    curve.add_parser(commands)
    decoding.add_parser(commands)
    learning.add_parser(commands)
    simulator.add_parser(commands)
    planning.add_parser(commands)
    quantisation.add_parser(commands)
    scaling.add_parser(commands)
    options = top.parse_args(arguments)
    try:
        status = options.run(options)
    except ZeroSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status or 0


def _leave(status: int) -> NoReturn:
    """End the process; after a signal at once, whatever a model's thread is still computing."""
    if status in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    _leave(main())
