"""What the tests of scaled-out runs share: a tiny run, faults that strike its processes, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agents.executors.ray import RayExecutor
from tests.agents.resuming import lines_of, sections

STEPS = 8
LIMIT_S = 600.0
"""After which anything that a test waits for has failed: far more than it takes on a busy machine."""


def scaled(model: Path, **changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A run of two learners and two samplers that saves every third step: section to key to value."""
    made = sections(
        model,
        run={"executor": "ray", "checkpoint_every": 3, "save_trajectories_every": 1},
        training={"total_steps": STEPS, "questions_per_step": 4, "group_size": 3},
        rollout={"max_new_tokens": 24, "max_episode_tokens": 600},
        scale={"num_learners": 2, "num_samplers": 2, "start_timeout_s": 500.0},
    )
    for name, values in changes.items():
        made[name] = made.get(name, {}) | values
    return made


def unscaled(settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same run in one process."""
    made = {name: dict(values) for name, values in settings.items() if name != "scale"}
    made["run"]["executor"] = "local"
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A process that is killed, or stopped so that it hangs.

    Attributes:
        call: The executor's method that is under way.
        number: Its how manieth call of the run, from 0.
        role: Whose process: "learner" or "sampler".
        rank: Which of them.
        during: The method that the process is in when it is struck.
        how: SIGKILL, or SIGSTOP.
    """

    call: str
    number: int
    role: str
    rank: int
    during: str
    how: int = signal.SIGKILL


class Faults:
    """Lets faults strike the scaled-out runs of this process.

    Args:
        patch: Undoes it after the test.
        faults: They.

    Attributes:
        struck: Role, rank and process id of each that was struck, in their order.
    """

    def __init__(self, patch: pytest.MonkeyPatch, faults: list[Fault]) -> None:
        self.struck: list[tuple[str, int, int]] = []
        self._faults, self._counts = list(faults), Counter[str]()
        for name in {fault.call for fault in faults}:
            patch.setattr(RayExecutor, name, self._watched(name, getattr(RayExecutor, name)))

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(executor: RayExecutor, *given: Any, **options: Any) -> Any:
            for fault in self._faults:
                if fault.call == name and fault.number == self._counts[name]:
                    place = next(
                        one
                        for one in executor.workers
                        if (one.get("role"), one.get("rank")) == (fault.role, fault.rank)
                    )
                    threading.Thread(target=self._strike, args=(fault, place["pid"]), daemon=True).start()
            self._counts[name] += 1
            return method(executor, *given, **options)

        return call

    def _strike(self, fault: Fault, pid: int) -> None:
        # Ray shows as a process' title what it is at.
        until(lambda: fault.during in title_of(pid), f"{fault.role} {fault.rank} is in {fault.during}", every_s=0.0005)
        os.kill(pid, fault.how)
        self.struck.append((fault.role, fault.rank, pid))


def title_of(pid: int) -> str:
    """A process' command line; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def until(happens: Callable[[], Any], what: str, *, limit_s: float = LIMIT_S, every_s: float = 0.05) -> Any:
    """Wait for something, and give what it gave."""
    deadline = time.monotonic() + limit_s
    while not (found := happens()):
        assert time.monotonic() < deadline, f"In {limit_s:g} s it never came to this: {what}."
        time.sleep(every_s)
    return found


def with_mark(mark: str) -> list[int]:
    """The processes that have a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ended = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not ended and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return sorted(found)


def listening(pids: list[int]) -> list[str]:
    """The addresses that processes listen on, for TCP, as the kernel writes them (an IPv4 one has eight digits)."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(link))
            except OSError:
                continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in sockets:
                found.append(local.partition(":")[0])
    return found


LOOPBACKS = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
"""127.0.0.1, ::1, and 127.0.0.1 as an IPv6 address, as the kernel writes them (on little-endian machines)."""


def weights_of_run(run: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's newest checkpoint."""
    return load_file(run / "checkpoint" / "model.safetensors")


def assert_close_runs(first: Path, second: Path, *, relative: float = 1e-4) -> None:
    """Two finished runs have the same steps, updates and episodes, and up to rounding the same weights."""
    steps = [[line["step"] for line in lines_of(run / "metrics.jsonl")] for run in (first, second)]
    assert steps[0] == steps[1] == list(range(len(steps[0])))
    updates = [[line["metrics"]["num_updates"] for line in lines_of(run / "metrics.jsonl")] for run in (first, second)]
    assert updates[0] == updates[1]
    assert sum(updates[0]) > 0
    texts = [[_said(line) for line in lines_of(run / "trajectories.jsonl")] for run in (first, second)]
    assert texts[0] == texts[1]
    weights = [weights_of_run(run) for run in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert float((weights[1][name] - tensor).norm() / tensor.norm()) < relative, name
    assert all((run / "summary.json").is_file() for run in (first, second))


def _said(line: dict[str, Any]) -> Any:
    ids = [segment["ids"] for segment in line["segments"]]
    return line["context"]["step"], line["group"], line["question_id"], line["reward"], line["weight_version"], ids


def events_of(run: Path) -> list[tuple[str, int]]:
    """Kind and step of what a finished run says happened."""
    events = json.loads((run / "summary.json").read_text())["events"]
    assert events == (lines_of(run / "events.jsonl") if (run / "events.jsonl").exists() else [])
    return [(event["kind"], event["step"]) for event in events]
