"""Training runs by the public command line, and what their steps took."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.errors import ModelError
from benchmarks.scaling.arms import Arm

__all__ = ["PHASES", "WARM_UP", "measured_steps", "medians", "read_metrics", "train"]

PHASES = ("rollout_s", "generate_s", "search_s", "update_s", "publish_s", "fetch_s", "idle_s", "step_s")
"""What is kept of a step, where the run logged it."""

WARM_UP = 2
"""Steps that aren't counted: the first loads what is loaded late, and playing ahead needs one more to get going."""


def train(arm: Arm, settings: Path, folder: Path) -> list[dict[str, float]]:
    """Train as an arm does, and give the metrics of all steps.

    Raises:
        ModelError: The run failed; the message holds the end of what it said.
    """
    name = f"{arm.name}-{len(list(folder.glob(f'{arm.name}-*')))}"
    command = [sys.executable, "-m", "agents", "train", "--config", str(settings), *arm.flags]
    command += ["--runs", str(folder), "--run-name", name]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise ModelError(
            f"The arm {arm.name} ended with status {done.returncode}. It said at the end:\n"
            f"{done.stderr[-2000:].strip()}"
        )
    return read_metrics(folder / name)


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The metrics of a run's training steps, in order."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["metrics"] for line in lines if line.strip()]


def measured_steps(steps: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """What is kept of a run: `PHASES`, tokens, and no warm-up."""
    kept = (*PHASES, "policy_tokens", "episode_tokens")
    return [{name: float(step[name]) for name in kept if name in step} for step in steps[WARM_UP:]]


def medians(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each number over steps."""
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: statistics.median(step[name] for step in steps if name in step) for name in names}
