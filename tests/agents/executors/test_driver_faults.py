"""A driver that is killed or told to stop: nothing is left behind, and the run goes on by command."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents.executors.driver import Driver, until_step
from tests.agents.executors.scaled import LOOPBACKS, assert_close_runs, events_of, listening, scaled, title_of, until
from tests.agents.resuming import lines_of

Start = Callable[..., Driver]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts drivers, which are ended after the test."""
    drivers: list[Driver] = []

    def make(*arguments: str, **options: Any) -> Driver:
        drivers.append(Driver(tmp_path, "train", "--runs", str(tmp_path), "--run-name", "hit", *arguments, **options))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


def test_killed_driver(saved_model: Path, undisturbed: Path, tmp_path: Path, start: Start) -> None:
    """While it runs, nothing listens beyond loopback; then nothing of it is left, and fewer processes go on with it."""
    driver = start(settings=scaled(saved_model))
    until_step(tmp_path / "hit", 3, driver)  # a step after the checkpoint
    titles = [title_of(pid) for pid in driver.processes]
    addresses = listening(driver.processes)
    driver.process.kill()
    driver.until_all_ended()
    for part in ("raylet", "gcs_server", "ray::LearnerWorker", "ray::SamplerWorker"):
        assert any(part in title for title in titles), (part, titles)
    assert len(addresses) > 4
    assert set(addresses) <= LOOPBACKS
    assert not (tmp_path / "hit" / "summary.json").exists()
    driver = start("--resume", "--num-learners", "1", "--num-samplers", "3")
    assert driver.wait() == 0, driver.said
    driver.until_all_ended()
    assert "Going on after 3 of 8 training steps." in driver.said
    assert_close_runs(undisturbed, tmp_path / "hit")
    assert events_of(tmp_path / "hit") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_driver_that_is_told_to_stop(
    number: int, saved_model: Path, undisturbed: Path, tmp_path: Path, start: Start
) -> None:
    driver = start(settings=scaled(saved_model))
    until_step(tmp_path / "hit", 3, driver)
    if number == signal.SIGINT:
        os.killpg(driver.process.pid, number)  # as a terminal does: everything in the group hears of it
    else:
        driver.process.terminate()
    assert driver.wait() == 128 + number, driver.said
    driver.until_all_ended()
    steps = len(lines_of(tmp_path / "hit" / "metrics.jsonl"))
    assert f"Stopped after training step {steps - 1} (of 8, from 0), as asked." in driver.said
    assert "Go on with: python -m agents train --resume --run-name hit" in driver.said
    driver = start("--resume")
    assert driver.wait() == 0, driver.said
    assert f"Going on after {steps} of 8 training steps." in driver.said
    driver.until_all_ended()
    assert_close_runs(undisturbed, tmp_path / "hit")


@pytest.mark.slow
def test_a_second_interrupt_stops_at_once(saved_model: Path, tmp_path: Path, start: Start) -> None:
    """While a step is learned from and another one is played."""
    settings = scaled(
        saved_model,
        run={"executor": "ray", "checkpoint_every": 1},
        training={"total_steps": 6, "old_logprobs": "recomputed", "importance_cap": 2.0},
        scale={"max_staleness": 1},
    )
    driver = start(settings=settings)
    until_step(tmp_path / "hit", 2, driver)
    driver.process.send_signal(signal.SIGINT)
    until(lambda: "Stopping after this training step." in driver.said, "the first one is noted", every_s=0.005)
    driver.process.send_signal(signal.SIGINT)
    assert driver.wait() == 130, driver.said
    driver.until_all_ended()
    assert "Traceback" not in driver.said
    driver = start("--resume", "--model", str(saved_model))
    assert driver.wait() == 0, driver.said
    driver.until_all_ended()
    lines = lines_of(tmp_path / "hit" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(6))
    assert [line["metrics"]["num_updates"] for line in lines] == [1] * 6
