"""Arms in processes of their own, which take their steps in turn: A B A B, so that what else the machine does hits all.

The parent asks a child for a step by a line on its standard input; the child answers with a line of JSON. A child that
waits computes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from agents.errors import ModelError
from benchmarks.training.arms import Arm, arm_named
from benchmarks.training.memory import memory_mb, reset_peak
from benchmarks.training.steps import Job, Step
from benchmarks.training.workload import Lengths, Scenario

__all__ = ["ArmRun", "alternate", "serve"]

_MODULES = {
    "ours": "benchmarks.training.ours",
    "trl": "benchmarks.training.trl_side",
    "plain": "benchmarks.training.plain",
}
_ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(slots=True)
class ArmRun:
    """What an arm did.

    Attributes:
        arm: Which.
        loaded_mb: Memory once everything was loaded, in 10⁶ bytes; see `memory.memory_mb`.
        steps: Its steps, the warm-up step not among them.
        warm_up: That step.
    """

    arm: Arm
    loaded_mb: float = 0.0
    steps: list[Step] = field(default_factory=list)
    warm_up: Step | None = None

    @property
    def peak_mb(self) -> float:
        """The most memory of any step, the warm-up included."""
        return max(max(step.rollout_peak_mb, step.update_peak_mb) for step in self._all())

    @property
    def update_peak_mb(self) -> float:
        """The most memory while weights were updated."""
        return max(step.update_peak_mb for step in self._all())

    def _all(self) -> list[Step]:
        return self.steps if self.warm_up is None else [self.warm_up, *self.steps]


def alternate(
    arms: Sequence[Arm],
    job: Job,
    *,
    repeats: int,
    threads: int,
    say: Callable[[str], None] = lambda line: None,
) -> list[ArmRun]:
    """Let arms take steps in turn; on a GPU one arm after the other, for together they may not fit its memory.

    Args:
        arms: Which.
        job: What they train.
        repeats: Steps of each that count, after one that doesn't.
        threads: That each computes an operation with.
        say: Is told how it goes.

    Raises:
        ConfigError: An arm did other work than the workload says.
        ModelError: An arm broke off; the message holds the end of what it said.
    """
    if job.device != "cpu":
        return [_alone(arm, job, repeats=repeats, threads=threads, say=say) for arm in arms]
    children: list[_Child] = []
    try:
        for arm in arms:
            say(f"{job.scenario.name}: loading {arm.name}, and a step to warm up …")
            children.append(_Child(arm, job, threads))
            children[-1].load()
            children[-1].step(counts=False)
        for repeat in range(repeats):
            # Who comes first changes, so that nobody always follows the same other.
            for child in children[repeat % len(children) :] + children[: repeat % len(children)]:
                say(_told(job, child, child.step(), f"{repeat + 1} of {repeats}"))
    finally:
        for child in children:
            child.close()
    return [child.run for child in children]


def _alone(arm: Arm, job: Job, *, repeats: int, threads: int, say: Callable[[str], None]) -> ArmRun:
    """All steps of an arm, with the device for itself."""
    say(f"{job.scenario.name}: loading {arm.name}, and a step to warm up …")
    child = _Child(arm, job, threads)
    try:
        child.load()
        child.step(counts=False)
        for repeat in range(repeats):
            say(_told(job, child, child.step(), f"{repeat + 1} of {repeats}"))
    finally:
        child.close()
    return child.run


def _told(job: Job, child: _Child, step: Step, which: str) -> str:
    parts = f"{step.rollout_s:.2f} + {step.update_s:.2f}"
    return f"{job.scenario.name}: {child.run.arm.name}, step {which}: {step.step_s:.1f} s ({parts})"


class _Child:
    """An arm in its process."""

    def __init__(self, arm: Arm, job: Job, threads: int) -> None:
        self.run = ArmRun(arm)
        self._wanted = job.scenario.lengths
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        order = {"arm": arm.name, "scenario": asdict(job.scenario), "model": str(job.model), "seed": job.seed}
        order["device"] = job.device
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", "training", "--serve", json.dumps({**order, "threads": threads})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, **_ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        )

    def load(self) -> None:
        """Wait until it has loaded everything."""
        self.run.loaded_mb = self._read()["loaded_mb"]

    def step(self, *, counts: bool = True) -> Step:
        """Let it take one."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # of a process that is gone; reading says why
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
        answer = self._read()
        step = Step(**{**answer, "lengths": Lengths(**answer["lengths"])})
        step.lengths.check_against(self._wanted, side=self.run.arm.name)
        if counts:
            self.run.steps.append(step)
        else:
            self.run.warm_up = step
        return step

    def close(self) -> None:
        """End it, and wait until it is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=30)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._process.wait()
        self._said.seek(0)
        raise ModelError(
            f"The arm {self.run.arm.name} broke off with status {self._process.returncode}. It ended with:\n"
            f"{self._said.read()[-2_000:].strip()}"
        )


class _PipeTurns:
    """`Turns` at the child's end of the pipe."""

    def __init__(self, orders: TextIO, answers: TextIO, device: str) -> None:
        self._orders = orders
        self._answers = answers
        self._device = device
        self._has_told = False

    def begin(self) -> bool:
        if not self._has_told:
            self._has_told = True
            self._tell({"loaded_mb": memory_mb(self._device)["now"]})
        wanted = bool(self._orders.readline())
        reset_peak(self._device)
        return wanted

    def report(self, step: Step) -> None:
        self._tell(asdict(step))

    def _tell(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()


def serve(order: str) -> None:
    """Be a child: take a step for each line of standard input, until it ends."""
    import torch

    wanted = json.loads(order)
    arm = arm_named(wanted["arm"])
    # Libraries print; the pipe is for answers alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    torch.set_num_threads(arm.settings.get("run", {}).get("threads") or wanted["threads"])
    scenario = Scenario(**wanted["scenario"])
    job = Job(model=Path(wanted["model"]), scenario=scenario, seed=wanted["seed"], device=wanted["device"])
    torch.manual_seed(job.seed)
    import_module(_MODULES[arm.side]).take_steps(
        job, arm.settings_on(job.device), _PipeTurns(sys.stdin, answers, job.device)
    )
