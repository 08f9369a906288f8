"""What the tests of resuming share: a tiny run, a child process that can be killed, and whether two runs are equal."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from agents.checkpoints import read_state
from agents.config import TrainConfig, load_config
from agents.resume import resumed_sections
from agents.runs import RunFolder
from agents.train import train

STEPS = 5


class Silent:
    """A logger that logs nothing."""

    def log(self, step: int, metrics: Any) -> None: ...

    def close(self) -> None: ...


def sections(model: Path, **changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A run of a second or two: section to key to value."""
    made: dict[str, dict[str, Any]] = {
        "run": {"seed": 3, "threads": 1, "checkpoint_every": 1, "save_trajectories_every": 1},
        "model": {"source": str(model)},
        "questions": {"limit": 5},
        "noise": {"start_threshold": 0.0, "end_threshold": 1.0},
        "episode": {"prompt": "short", "max_turns": 2, "reward": "letters"},
        "rollout": {"max_new_tokens": 8, "max_episode_tokens": 500},
        "training": {"total_steps": STEPS, "questions_per_step": 2, "group_size": 2},
        "optimizer": {"learning_rate": 1e-3, "schedule": "linear", "warmup_steps": 2},
        "evaluation": {"limit": 2, "noise": [0.5]},
    }
    for name, values in changes.items():
        made[name] = made.get(name, {}) | values
    return made


VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "grpo-kl": {"training": {"kl_coef": 0.1}, "run": {"checkpoint_every": 2}},
    "ppo": {"run": {"algorithm": "ppo"}, "critic": {"learning_rate": 1e-3}},
    "ppo-kl-workers": {"run": {"algorithm": "ppo", "workers": 2}, "training": {"kl_coef": 0.1, "num_minibatches": 2}},
    "grpo-workers": {"run": {"workers": 2, "keep_checkpoints": 2}, "learner": {"micro_batch_tokens": 200}},
}


def begin(
    root: Path, name: str, settings: dict[str, dict[str, Any]], *, overwrite: bool = False, **options: Any
) -> dict[str, Any]:
    """Train from the beginning."""
    return train(load_config(settings), RunFolder(name, root=root, overwrite=overwrite), **options)


def go_on(root: Path, name: str, given: dict[str, dict[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
    """Go on with a run, with what is given over its settings."""
    run = RunFolder(name, root=root, resume=True)
    return train(config_of(run, given), run, **options)


def config_of(run: RunFolder, given: dict[str, dict[str, Any]] | None = None) -> TrainConfig:
    """The settings that a run goes on with."""
    return load_config(resumed_sections(run, given or {}))


def in_child(function: Callable[[], Any], *, kill_after_s: float | None = None) -> int:
    """Run a function in a forked process, and kill that with SIGKILL after a while if it isn't done.

    Returns:
        0 if it came to its end, 1 if it raised, -9 if it was killed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + (60.0 if kill_after_s is None else kill_after_s)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


_CHANGING = ("fsync", "replace", "rename", "symlink", "truncate", "unlink", "rmdir", "mkdir")


def kill_at_change(number: int) -> None:
    """Let this process kill itself right before the `number`-th change of a file system that it asks for itself."""
    count = 0

    def wrapped(change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*given, **options)

        return counted

    for name in _CHANGING:
        setattr(os, name, wrapped(getattr(os, name)))


def lines_of(path: Path) -> list[Any]:
    """The records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def metrics_of(run: Path) -> list[Any]:
    """What was logged, without timings."""
    records = lines_of(run / "metrics.jsonl")
    for record in records:
        record["metrics"] = {name: value for name, value in record["metrics"].items() if not name.endswith("_s")}
    return records


def trajectories_of(run: Path) -> list[Any]:
    """The saved episodes, without latencies."""
    records = lines_of(run / "trajectories.jsonl")
    for record in records:
        for search in record["searches"]:
            search.pop("latency_s")
    return records


def assert_same(first: Any, second: Any, where: str = "state") -> None:
    """Bit by bit, through mappings, lists and tensors."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}[{key!r}]")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    elif isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype, where
        assert torch.equal(first, second), where
    else:
        assert first == second, where


def assert_equal_runs(first: Path, second: Path) -> None:
    """Two finished runs are one and the same, but for how long they took."""
    weights = [(run / "checkpoint" / "model.safetensors").read_bytes() for run in (first, second)]
    assert weights[0] == weights[1]
    states = [read_state(run / "checkpoint") for run in (first, second)]
    for key in ("step", "executor", "alarm", "weights", "before", "fingerprints"):
        assert_same(states[0][key], states[1][key], key)
    steps = [record["step"] for record in lines_of(second / "metrics.jsonl")]
    assert steps == list(range(len(steps)))
    assert metrics_of(first) == metrics_of(second)
    assert trajectories_of(first) == trajectories_of(second)
    summaries = [json.loads((run / "summary.json").read_text()) for run in (first, second)]
    for key in ("before", "after", "alarms", "fingerprints"):
        assert summaries[0][key] == summaries[1][key], key
    assert set(os.listdir(second / "checkpoints")) == set(os.listdir(first / "checkpoints"))
    assert not [name for name in os.listdir(second) if name.startswith(".") and name != ".lock"]
