"""Simulator servers that a scaled-out run starts, uses and ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents.config import load_config
from agents.policy import Policy
from agents.runs import RunFolder
from agents.testing import byte_tokenizer, tiny_lfm2
from agents.train import train
from tests.agents.resuming import Silent, sections
from zs_env.errors import ConfigError

pytest.importorskip("xllamacpp")


def scaled(model: Path, **changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A run of one step whose searches ask a real model."""
    made = sections(
        model,
        run={"executor": "ray", "checkpoint_every": 0},
        search={"mode": "simulate_prompt", "simulation_llm": "smollm2", "topk": 1},
        scale={"num_simulators": 1, "gpus_per_simulator": 0, "simulator_backend": "llamacpp"},
        episode={"reward": "f1"},
        training={"total_steps": 1},
        optimizer={"warmup_steps": 0},
        evaluation={"noise": []},
    )
    for name, values in changes.items():
        made[name] = made.get(name, {}) | values
    return made


def left_after(deadline_s: float, pids: list[int]) -> list[int]:
    """Those of the processes that are still at work after a while."""
    until = time.monotonic() + deadline_s
    while (left := [pid for pid in pids if at_work(pid)]) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def at_work(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_run_starts_its_simulator_and_ends_it(tmp_path: Path) -> None:
    Policy(tiny_lfm2(), byte_tokenizer()).save(tmp_path / "model")
    summary = train(load_config(scaled(tmp_path / "model")), RunFolder("one", root=tmp_path), logger=Silent())
    (simulator,) = [one for one in summary["workers"] if one["role"] == "simulator"]
    assert simulator["server_pid"] > 0
    pids = [one["pid"] for one in summary["workers"] if one["role"] != "driver"]
    assert not left_after(30.0, [simulator["server_pid"], *pids])
    assert "127.0.0.1" not in json.dumps(summary["workers"])  # an address is nothing that a record needs
    lines = [json.loads(line) for line in (tmp_path / "one" / "trajectories.jsonl").read_text().splitlines()]
    assert len(lines) == 4


def test_a_simulator_needs_room_and_no_other_server(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_simulators=1 starts the simulator's servers, and base_url"):
        load_config(scaled(tmp_path, search={"base_url": "http://127.0.0.1:9"}))
