"""Ray Tune searches through settings of `python -m agents train`; ASHA stops early what is behind.

Run it with `python examples/tune_asha.py`; it needs `pip install "zerosearch-env[agents,ray]"`, and some minutes
on two cores. Stop it (Ctrl-C, or kill -9) and run it again with `--resume`: finished trials are not run again, others
go on from where their runs were. The same without Python: `python -m agents sweep FILE`, see `docs/rllib.md`.

What to copy from it: any setting of a run can be searched through by its name, "section.key".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs from anywhere

from agents.config import load_preset
from agents.tune import Sweep, SweepSettings, sweep
from agents.tune.command import table
from zs_env.errors import ZeroSearchError

SPACE = {
    "optimizer.learning_rate": {"loguniform": [3e-5, 3e-3]},
    "training.clip_high": {"choice": [0.2, 0.28, 0.4]},
}


def describe(options: argparse.Namespace) -> Sweep:
    """What is searched through: the quickstart, with fewer and smaller steps."""
    sections = load_preset("quickstart")
    sections["training"] |= {"total_steps": options.steps, "questions_per_step": 8}
    sections["optimizer"] |= {"warmup_steps": min(2, options.steps - 1)}
    sections["run"] |= {"checkpoint_every": 1, "workers": 1}  # so that a kill costs one step at most
    # Not the test split: who has chosen a trial by it can't measure that trial with it any more.
    sections["evaluation"] |= {"split": "validation", "limit": 100, "noise": [0.5]}
    settings = SweepSettings(
        metric="exact_match",
        num_samples=options.num_samples,
        grace_steps=min(3, options.steps - 1),
        reduction_factor=2,
        cpus_per_trial=0.5,  # several trials share a core
        max_concurrent=2,
    )
    return Sweep(settings=settings, space=SPACE, sections=sections)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Sweep, show the trials; returns the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--num-samples", type=int, default=8, help="trials (8)")
    parser.add_argument("--steps", type=int, default=12, help="training steps of a trial that isn't stopped (12)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs (runs)")
    parser.add_argument("--run-name", default="tune_asha", help="the sweep's folder in it (tune_asha)")
    parser.add_argument("--resume", action="store_true", help="go on with a sweep that was stopped")
    parser.add_argument("--overwrite", action="store_true", help="replace a sweep of the same name")
    options = parser.parse_args(arguments)
    if options.steps < 2:
        parser.error("--steps must be at least 2")
    record = sweep(
        describe(options),
        options.run_name,
        root=options.runs,
        resume=options.resume,
        overwrite=options.overwrite,
        say=lambda line: print(line, file=sys.stderr),
    )
    print(table(record))
    return record


if __name__ == "__main__":
    try:
        main()
    except ZeroSearchError as error:
        sys.exit(f"error: {error}")
