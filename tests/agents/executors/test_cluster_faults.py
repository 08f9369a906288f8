"""A machine of a cluster is lost in the middle of training: here a second raylet beside the head's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.executors.driver import Driver, until_step
from tests.agents.executors.scaled import (
    assert_close_runs,
    events_of,
    scaled,
    title_of,
    until,
    with_mark,
)

pytestmark = pytest.mark.slow

ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # with 0, a cluster has one machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_ADDRESS": "",
    "RAY_AUTH_MODE": "disabled",  # else a head takes a token where there is one, and the others must be told so
    "PYTHONPATH": str(Path(__file__).parents[3]),  # a cluster isn't sent the tests, where the reward lies
}


class Machine:
    """A raylet, with whatever else `ray start` starts, as one machine of a cluster.

    Args:
        folder: Ray's own; its path must be short.
        num_cpus: What the machine says it has.
        address: Of the head; None for being it.
    """

    def __init__(self, folder: Path, num_cpus: int, address: str | None = None) -> None:
        self._mark = f"ZEROSEARCH_TEST_MACHINE={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        where = ["--address", address] if address else ["--head", "--temp-dir", str(folder)]
        if address is None:
            port, of_clients = _free_ports(2)
            where += ["--port", str(port), "--ray-client-server-port", str(of_clients), "--include-dashboard", "false"]
            address = f"127.0.0.1:{port}"
        self.address = address
        options = ["--node-ip-address", "127.0.0.1", "--num-cpus", str(num_cpus), "--num-gpus", "0"]
        options += ["--object-store-memory", "100000000", "--block"]
        self._said = folder / f"said-{value}"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *where, *options],
                env=os.environ | ENVIRONMENT | {name: value},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def titles(self) -> dict[int, str]:
        """What runs there, by process id."""
        return {pid: title_of(pid) for pid in with_mark(self._mark)}

    @property
    def num_workers(self) -> int:
        """How many learners and samplers are there."""
        return sum("ray::LearnerWorker" in one or "ray::SamplerWorker" in one for one in self.titles.values())

    @property
    def raylet(self) -> int | None:
        """Its process id, once it is there."""
        assert self._process.poll() is None, self._said.read_text()
        return next((pid for pid, title in self.titles.items() if "/raylet/raylet" in title.partition(" ")[0]), None)

    def close(self) -> None:
        """End it."""
        for pid in self.titles:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    """To be filled; they are ended after the test."""
    made: list[Machine] = []
    yield made
    for one in reversed(made):
        one.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="zs-ray-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("has_room", [True, False])
def test_a_machine_is_lost(
    has_room: bool, saved_model: Path, undisturbed: Path, tmp_path: Path, folder: Path, machines: list[Machine]
) -> None:
    machines.append(Machine(folder, 4 if has_room else 2))
    until(lambda: machines[0].raylet, "the head is there")
    machines.append(Machine(folder, 2, machines[0].address))
    until(lambda: machines[1].raylet, "the second machine is there")
    given = ["train", "--runs", str(tmp_path), "--run-name", "hit", "--address", machines[0].address]
    settings = scaled(saved_model, scale={"start_timeout_s": 500.0 if has_room else 60.0})
    driver = Driver(tmp_path, *given, settings=settings, environment=ENVIRONMENT)
    try:
        until_step(tmp_path / "hit", 3, driver)
        assert machines[1].num_workers
        raylet = machines[1].raylet
        assert raylet is not None
        os.kill(raylet, signal.SIGKILL)
        code = driver.wait()
        if not has_room:
            assert code == 2, driver.said
            assert "found no machine with room for it within start_timeout_s=60" in driver.said
            assert "It asks for 0 GPUs and 1 cores on one machine; free are 0 GPUs with" in driver.said
            assert "go on with: python -m agents train --resume --run-name hit" in driver.said
            driver = Driver(
                tmp_path, *given, "--resume", "--num-learners", "1", "--num-samplers", "1", environment=ENVIRONMENT
            )
            code = driver.wait()
        assert code == 0, driver.said
        driver.until_all_ended()
        # The cluster goes on, without a process of the run.
        until(lambda: not machines[0].num_workers, "its workers are gone")
    finally:
        driver.close()
    assert machines[0].raylet is not None
    assert_close_runs(undisturbed, tmp_path / "hit")
    if has_room:
        assert {kind for kind, _ in events_of(tmp_path / "hit")} <= {"sampler_replaced", "learners_restarted"}
        assert events_of(tmp_path / "hit")
