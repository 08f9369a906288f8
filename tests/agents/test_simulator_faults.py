"""Training on a simulator that fails every fifth call and dies in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.accumulation import Example
from agents.assembly import make_executor
from agents.config import load_config
from agents.errors import RolloutError
from agents.rollout import RolloutResult
from agents.runs import RunFolder
from agents.train import train
from agents.trajectory import Trajectory, read_trajectories
from tests.agents.resuming import Silent, config_of
from tests.zs_env.engines.fault_server import closed_port
from zs_env.engines import SEARCH_MODES
from zs_env.engines.llm import SimulatedEngine, simulate_prompt

ROOT = Path(__file__).parents[2]
STEPS = 4


class Simulator:
    """The server process; one that was killed comes back on the same port, if it is wanted, some time later."""

    def __init__(self, log: Path) -> None:
        self.port, self.log = closed_port(), log
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.starts = 0

    def start(self, *, die_at: int = -1, back_after_s: float | None = None) -> None:
        command = [sys.executable, "-m", "tests.agents.simulator_process", str(self.port), str(self.log), str(die_at)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"up\n"
        self.starts += 1
        if back_after_s is not None:
            threading.Thread(target=self._come_back, args=(self.process, back_after_s), daemon=True).start()

    def _come_back(self, process: subprocess.Popen[bytes], after_s: float) -> None:
        process.wait()
        time.sleep(after_s)
        self.start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


class Watched:
    """An executor that keeps what was played and what was learned from."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self.played: list[list[Trajectory]] = []
        self.learned: list[list[Trajectory]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def rollout(self, tasks: Any) -> RolloutResult:
        result: RolloutResult = self._executor.rollout(tasks)
        self.played.append(result.trajectories)
        self.learned.append([])
        return result

    def update(self, examples: Sequence[Example], *given: Any, **options: Any) -> Any:
        self.learned[-1] += [example.trajectory for example in examples]
        return self._executor.update(examples, *given, **options)


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    made = Simulator(tmp_path / "calls.log")
    monkeypatch.setitem(SEARCH_MODES, "simulate_briskly", briskly)
    yield made
    made.stop()


def briskly(base_url: str, simulation_llm: str) -> SimulatedEngine:
    """`simulate_prompt` that gives up after seconds, not minutes."""
    waits = {"max_retries": 40, "backoff_s": 0.02, "max_backoff_s": 0.4, "timeout_s": 0.6, "deadline_s": PATIENCE_S[0]}
    return simulate_prompt(simulation_llm, base_url, check=False, **waits)


PATIENCE_S = [20.0]


def settings(simulator: Simulator, **rollout: Any) -> dict[str, dict[str, Any]]:
    return {
        "run": {"seed": 3, "threads": 1, "save_trajectories_every": 1, "num_saved_trajectories": 99},
        "model": {"source": "preset:quickstart_warmstart"},
        "questions": {"limit": 12},
        "search": {"mode": "simulate_briskly", "base_url": simulator.base_url, "simulation_llm": "m", "topk": 3},
        "episode": {"prompt": "short", "max_turns": 3, "reward": "format"},
        "rollout": {"max_new_tokens": 40, "max_episode_tokens": 500, **rollout},
        "training": {"total_steps": STEPS, "questions_per_step": 3, "group_size": 4},
        "grpo": {"zero_variance": "keep"},
        "optimizer": {"learning_rate": 1e-4},
        "evaluation": {"noise": []},
    }


def test_a_run_survives_a_simulator_that_fails_and_is_killed(simulator: Simulator, tmp_path: Path) -> None:
    simulator.start(die_at=32, back_after_s=0.5)
    watched: list[Watched] = []

    def executor_for(*given: Any) -> Any:
        watched.append(Watched(make_executor(*given)))
        return watched[0]

    config = load_config(settings(simulator, max_failure_rate=0.5))
    run = RunFolder("faulty", root=tmp_path)
    summary = train(config, run, logger=Silent(), executor_for=executor_for)

    assert simulator.starts == 2
    calls = simulator.calls
    assert calls.count("killed") == 1
    assert 0.15 < sum(call != "answered" for call in calls) / len(calls) < 0.25
    metrics = [json.loads(line)["metrics"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert len(metrics) == STEPS

    # Counted: by the server, which alone knows what it refused for good; by the episodes; by metrics and summary.
    refused = sum(call.startswith("refused") for call in calls)
    played = [trajectory for step in watched[0].played for trajectory in step]
    failed = [trajectory for trajectory in played if trajectory.failed]
    assert refused > 0
    assert len(failed) == refused
    assert [row["num_failed"] for row in metrics] == [sum(t.failed for t in step) for step in watched[0].played]
    assert summary["episodes"] == {"num_played": STEPS * 12, "num_failed": refused}
    assert {trajectory.status for trajectory in failed} == {"search_failed"}

    # Excluded: what was learned from is all the others, and each of them.
    for row, step, learned in zip(metrics, watched[0].played, watched[0].learned, strict=True):
        assert not any(trajectory.failed for trajectory in learned)
        assert {id(t) for t in learned} == {id(t) for t in step if not t.failed}
        assert row["num_examples"] == len(learned) == len(step) - row["num_failed"]

    # Nothing of a failure became text or tokens.
    saved = list(read_trajectories(run.path / "trajectories.jsonl"))
    assert len(saved) == len(played)
    for trajectory in saved:
        assert "FAULT" not in trajectory.text
        assert "127.0.0.1" not in trajectory.text
        assert trajectory.text.count("<information>") == trajectory.num_searches
    assert all("HTTP 4" in str(trajectory.error) for trajectory in saved if trajectory.failed)


@pytest.mark.slow
def test_a_run_whose_simulator_stays_down_stops_and_goes_on_once_it_is_back(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.start(die_at=20)
    monkeypatch.setitem(globals(), "PATIENCE_S", [0.8])
    sections = settings(simulator, max_failure_rate=0.5)
    with pytest.raises(RolloutError) as stopped:
        train(load_config(sections), RunFolder("down", root=tmp_path), logger=Silent())
    told = str(stopped.value)
    for part in ("episodes failed, more than max_failure_rate=0.5", simulator.base_url, "--resume --run-name down"):
        assert part in told
    monkeypatch.setitem(globals(), "PATIENCE_S", [20.0])
    simulator.stop()
    simulator.start()
    run = RunFolder("down", root=tmp_path, resume=True)
    summary = train(config_of(run), run, logger=Silent())
    assert summary["episodes"]["num_played"] == STEPS * 12
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(STEPS))


def test_a_step_in_which_everything_fails_makes_no_update_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SEARCH_MODES, "simulate_briskly", briskly)
    monkeypatch.setitem(globals(), "PATIENCE_S", [0.2])
    down = Simulator(tmp_path / "calls.log")  # never started
    sections = settings(down, max_failure_rate=1.0)
    sections["training"] |= {"total_steps": 1, "questions_per_step": 1, "group_size": 2}
    summary = train(load_config(sections), RunFolder("nothing", root=tmp_path), logger=Silent())
    row = json.loads((tmp_path / "nothing" / "metrics.jsonl").read_text())["metrics"]
    searched = [t for t in read_trajectories(tmp_path / "nothing" / "trajectories.jsonl") if t.searches]
    assert len(searched) == 2 == row["num_failed"] == summary["episodes"]["num_failed"]
    assert row["num_updates"] == row["num_examples"] == 0
    assert summary["fingerprints"]["model_after"] == summary["fingerprints"]["model"]
