"""What the tests of resuming share: a tiny run, processes that can be killed, and whether two runs are equal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from agents.checkpoints import read_state
from agents.config import TrainConfig, load_config
from agents.policy import Policy
from agents.resume import resumed_sections
from agents.runs import RunFolder
from agents.testing import byte_tokenizer, tiny_lfm2
from agents.train import train
from tests.agents.doubles import first_letters
from zs_env.questions import load_questions
from zs_env.rewards import REWARDS

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
    "grpo-dynamic": {
        "grpo": {"dynamic_sampling_rounds": 2},
        "training": {"old_logprobs": "recomputed", "importance_cap": 2.0, "importance": "sequence"},
        "rollout": {"max_new_tokens": 2, "max_episode_tokens": 500},
    },
    "ppo-lora": {  # with a KL penalty: its reference is what the checkpoint leads to
        "run": {"algorithm": "ppo", "workers": 2},
        "training": {"kl_coef": 0.1},
        "lora": {"rank": 2},
        "critic": {"learning_rate": 1e-3},
    },
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


class Forks:
    """A process that has imported everything and started no thread, and forks itself to carry out runs that may die.

    (A process that has trained has threads, and forks of it may hang.)
    """

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", "from tests.agents.resuming import serve; serve()"],
            bufsize=0,  # so that `select` sees whatever has come
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )

    def close(self) -> None:
        """End the process."""
        self._server.kill()
        self._server.communicate()

    def run(
        self, root: Path, model: Path, variant: str, *, kill_at: int = 0, kill_when: Callable[[], bool] | None = None
    ) -> int:
        """Begin the run `root / variant`, or go on with it.

        Args:
            root: The folder of runs.
            model: Where the run begins.
            variant: One of `VARIANTS`.
            kill_at: See `kill_at_change`.
            kill_when: It is killed with SIGKILL as soon as this is so.

        Returns:
            0 if it came to its end, 1 if it raised, -9 if it was killed.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        request = {"root": str(root), "model": str(model), "variant": variant, "kill_at": kill_at}
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        child, killed, deadline = int(self._server.stdout.readline()), False, time.monotonic() + 300
        while not select.select([self._server.stdout], [], [], 0.001)[0]:
            late = time.monotonic() > deadline
            if not killed and (late or (kill_when is not None and kill_when())):
                os.kill(child, signal.SIGKILL)
                killed = True
            assert not late, "The run hangs."
        return int(self._server.stdout.readline())


def serve() -> None:
    """What `Forks` runs: a request a line on stdin; the child's process id and then its exit status on stdout."""
    REWARDS["letters"] = first_letters  # type: ignore[index]
    for split in ("train", "test"):  # what takes its time is loaded once, for all forks
        load_questions("atlas", split)
    Policy(tiny_lfm2(), byte_tokenizer()).fingerprints()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)
            code = 1
            try:
                _carry_out(Path(request["root"]), request["model"], request["variant"], request["kill_at"])
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _carry_out(root: Path, model: str, variant: str, kill_at: int) -> None:
    if kill_at:
        kill_at_change(kill_at)
    run = root / variant
    if (run / "config.json").exists():
        needed = "kl" in variant or not (run / "checkpoint").exists()
        go_on(root, variant, {"model": {"source": model}} if needed else {}, logger=Silent())
    else:
        begin(root, variant, sections(Path(model), **VARIANTS[variant]), logger=Silent(), overwrite=True)


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
    weights = [
        {path.name: path.read_bytes() for path in (run / "checkpoint").glob("*.safetensors")} for run in (first, second)
    ]
    assert weights[0] == weights[1] != {}
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
