"""Servers are waited for, watched, restarted, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.zs_env.serving.helpers import Fake, runs, until
from zs_env.errors import ConfigError, ServerError
from zs_env.serving import WatchSettings
from zs_env.serving.health import unhealthy


def test_it_is_up_inside_and_gone_with_its_workers_outside(tmp_path: Path) -> None:
    fake = Fake(tmp_path, "workers")
    with fake.server as server:
        assert (server.state, server.model) == ("healthy", "fake")
        assert server.base_url == f"http://127.0.0.1:{server.launch.port}/v1"
        assert server.pid == fake.pids[0]
        assert len(fake.running) == 3
        assert unhealthy(server.launch) == ""
    assert fake.running == []
    assert (server.state, server.pid) == ("stopped", 0)
    assert unhealthy(server.launch) != ""
    log = server.log
    assert log is not None
    assert "fake_server.py" in log.read_text().splitlines()[0]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    with pytest.raises(ServerError, match="stopped already"):
        server.start()


def test_a_crash_is_told_and_the_server_comes_back(tmp_path: Path) -> None:
    fake = Fake(tmp_path, "workers", max_restarts=2)
    with fake.server as server:
        first = server.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: server.num_restarts == 1 and server.state == "healthy", "it was back")
        assert server.pid not in (0, first)
        assert len(fake.running) == 3, "the first run's workers are gone"
    said = "\n".join(fake.said)
    assert "was killed by signal 9 (SIGKILL)" in said
    assert "restart 1 of 2 in 0.01 s" in said
    logs = sorted((tmp_path / "logs").iterdir())
    assert [log.name[-7:] for log in logs] == ["001.log", "002.log"]
    assert str(logs[0]) in said
    assert fake.running == []


def test_it_is_given_up_after_too_many_crashes_in_a_row(tmp_path: Path) -> None:
    fake = Fake(tmp_path, max_restarts=1)
    with fake.server as server:
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: server.num_restarts == 1 and server.state == "healthy", "it was back")
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerError, match=r"given up after 2 crashes in a row \(max_restarts is 1\)") as caught:
            server.wait(60)
        assert caught.value.log == server.log
        assert server.state == "failed"
    assert server.state == "failed"
    assert fake.running == []


def test_another_server_at_the_port_is_not_taken_for_the_restarted_one(tmp_path: Path) -> None:
    fake = Fake(tmp_path, max_restarts=1, backoff_s=1.0)
    with fake.server as server, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: server.state == "restarting", "the crash was seen")
        other.bind(("127.0.0.1", server.launch.port))
        other.listen()
        with pytest.raises(ServerError, match=r"Port \d+ of 127\.0\.0\.1 is in use"):
            server.wait(60)


def test_crashes_are_forgotten_after_a_steady_time(tmp_path: Path) -> None:
    fake = Fake(tmp_path, max_restarts=1, steady_s=0.0)
    with fake.server as server:
        for crash in (1, 2):
            os.kill(server.pid, signal.SIGKILL)
            until(lambda: server.num_restarts == crash and server.state == "healthy", "it was back")  # noqa: B023


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("oom", "the GPU's memory doesn't suffice"),
        ("taken", "the port is in use"),
        ("broken", "First error in its log: ValueError: else"),
    ],
)
def test_an_end_before_it_is_up_says_why_and_is_not_tried_again(tmp_path: Path, word: str, cause: str) -> None:
    fake = Fake(tmp_path, word)
    with pytest.raises(ServerError, match="ended with exit status 3 before it was up") as caught, fake.server:
        pass
    assert cause in str(caught.value)
    if word == "broken":
        assert "\n    ValueError: else" in str(caught.value), "the last lines, without colours"
    assert len(fake.pids) == 1
    assert caught.value.log is not None
    assert caught.value.log.exists()


def test_a_start_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    fake = Fake(tmp_path, "never workers", start_timeout_s=0.5, progress_s=0.1)
    with pytest.raises(ServerError, match=r"wasn't up after 0\.5 s \(/health: .*start-timeout-s"), fake.server:
        pass
    assert fake.running == []
    assert any("not up yet" in line for line in fake.said)


def test_a_server_that_does_not_heed_is_killed(tmp_path: Path) -> None:
    fake = Fake(tmp_path, "stubborn workers", grace_s=0.1)
    with fake.server:
        assert len(fake.running) == 3
    assert fake.running == []


def test_a_port_in_use_is_found_before_the_start(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", fake.server.launch.port))
        other.listen()
        with pytest.raises(ServerError, match=r"Port \d+ of 127\.0\.0\.1 is in use") as caught:
            fake.server.start()
    if sys.platform == "linux":
        assert f"by process {os.getpid()} (" in str(caught.value)
    assert fake.pids == []


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    object.__setattr__(fake.server.launch, "command", ("/no/such/python", "x.py"))
    with pytest.raises(ServerError, match="'/no/such/python' can't be run: No such file"):
        fake.server.start()


def test_it_does_not_hold_up_an_event_loop(tmp_path: Path) -> None:
    fake = Fake(tmp_path)

    async def use() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with fake.server as server:
            assert server.state == "healthy"
        ticking.cancel()
        return ticks

    assert asyncio.run(use()) > 5
    assert fake.running == []


def test_a_start_can_be_stopped_from_another_thread(tmp_path: Path) -> None:
    fake = Fake(tmp_path, "never")
    stopper = threading.Thread(target=lambda: (until(lambda: fake.pids, "it ran"), fake.server.stop()))
    stopper.start()
    with pytest.raises(ServerError, match="stopped while it started"):
        fake.server.start()
    stopper.join()
    assert fake.running == []
    assert fake.server.state == "stopped"


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_a_guard_that_is_killed_takes_the_server_along_and_counts_as_a_crash(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    with fake.server as server:
        first = server.pid
        guard = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guard, signal.SIGKILL)
        until(lambda: server.num_restarts == 1 and server.state == "healthy", "it was back")
        until(lambda: not runs(first), "the first run was gone")
    assert fake.running == []


PROGRAM = """
import sys, time
from pathlib import Path
from tests.zs_env.serving.helpers import Fake
fake = Fake(Path(sys.argv[1]), "workers stubborn", grace_s=0.1)
fake.server.start()
print("up", flush=True)
if sys.argv[2] == "sleep":
    time.sleep(600)
"""


@pytest.mark.parametrize("end", ["killed", "forgets"])
def test_a_program_that_dies_or_forgets_leaves_nothing_behind(tmp_path: Path, end: str) -> None:
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), "sleep" if end == "killed" else "end"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert len(pids) == 3
        if end == "killed":
            assert all(map(runs, pids))
            program.kill()
    until(lambda: not any(map(runs, pids)), "all of it was gone")


def test_watch_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"grace_s must be a number of seconds, 0 or more; got -1"):
        WatchSettings(grace_s=-1)
    with pytest.raises(ConfigError, match=r"max_restarts must be a whole number, 0 or more; got 1\.5"):
        WatchSettings(max_restarts=1.5)  # type: ignore[arg-type]
