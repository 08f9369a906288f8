"""The command line, in this process where it ends at once, and as a program where it serves."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.serving.helpers import STUBS, runs, until
from zs_env.__main__ import main
from zs_env.serving.checks import free_port

ROOT = Path(__file__).parents[3]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for a model, and a vLLM and a sglang that pass for servers."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.setenv("PYTHONPATH", f"{STUBS}:{ROOT}")
    monkeypatch.setenv("ZS_FAKE_PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SIM_KEY", "s3cret")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "model"


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    given = [sys.executable, "-m", "zs_env", "serve", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(given, **pipes, start_new_session=True) as program:
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.parametrize("backend", ["sglang", "vllm"])
def test_ctrl_c_ends_it_all(model: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZS_FAKE", "workers")
    ready = model.parent / "ready.json"
    flags = ["--no-gpu-check", "--port", "0", "--ready-file", str(ready), "--api-key-env", "SIM_KEY"]
    with serving(backend, "--model", str(model), *flags, "--", "--seed", "7") as program:
        assert program.stdout is not None
        told = json.loads(program.stdout.readline())
        assert (told["event"], told["model"], told["restarts"]) == ("ready", "fake", 0)
        assert json.loads(ready.read_text()) == told
        pids = [int(pid) for pid in (model.parent / "pids").read_text().split()]
        assert told["pid"] == pids[0]
        assert all(map(runs, pids))
        if sys.platform == "linux":
            assert b"s3cret" not in Path(f"/proc/{pids[0]}/cmdline").read_bytes()
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=60)
    assert program.returncode == 0
    assert "stopped" in said
    assert not any(map(runs, pids))
    assert not ready.exists()
    log = (model.parent / told["log"]).read_text()
    assert "--seed" in log
    assert "s3cret" not in log.splitlines()[0]


def test_a_start_is_ended_by_sigterm(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZS_FAKE", "never")
    with serving("vllm", "--model", str(model), "--no-gpu-check", "--port", "0") as program:
        until((model.parent / "pids").exists, "it was started")
        until(lambda: (model.parent / "pids").read_text().strip(), "it said its number")
        program.terminate()
        program.communicate(timeout=60)
    assert program.returncode == 0
    assert not runs(int((model.parent / "pids").read_text()))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["vllm", "--model", "/no/model"], 2, "There is no model at '/no/model'"),
        (["llamacpp", "--model", "no.gguf"], 2, "There is no file 'no.gguf'"),
        (["vllm", "--model", "MODEL", "--python", "/no/python"], 2, "'/no/python' can't"),
        (["vllm", "--model", "MODEL", "--memory-fraction", "2"], 2, "memory_fraction must be above 0 and below 1"),
        (["vllm", "--model", "MODEL", "--api-key-env", "NO_KEY"], 2, "'NO_KEY', which isn't set"),
        (["sglang", "--model", "MODEL", "--tp", "4"], 1, "tp 4 and dp 1 needs 4 GPUs, and none can be used"),
        (["vllm", "--model", "MODEL", "--", "--api-key", "s3cret"], 2, "use api_key_env"),
    ],
)
def test_errors_say_the_way_out(
    model: Path,
    arguments: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert main(["serve", *(str(model) if part == "MODEL" else part for part in arguments)]) == status
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert "s3cret" not in said


def test_a_port_in_use_and_an_open_host_are_told(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert (
            main(["serve", "vllm", "--model", str(model), "--no-gpu-check", "--host", "0.0.0.0", "--port", port]) == 1
        )
    said = capsys.readouterr().err
    assert "WARNING: 0.0.0.0 can be reached from other machines, and no key is asked for" in said
    assert f"Port {port} of 0.0.0.0 is in use" in said


def test_a_missing_package_names_the_command(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("PYTHONPATH")
    assert main(["serve", "vllm", "--model", str(model), "--port", str(free_port("127.0.0.1"))]) == 2
    assert "Install it with: pip install vllm" in capsys.readouterr().err


def test_the_command_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--tp", "2", "--quantization", "fp8", "--memory-fraction", "0.5", "--python", "py", "--print-command"]
    assert main(["serve", "sglang", "--model", "o/m", *flags, "--", "--log-level", "warning"]) == 0
    assert capsys.readouterr().out == (
        "py -m sglang.launch_server --model-path o/m --host 127.0.0.1 --port 6001 --tp-size 2 --dp-size 1 "
        "--quantization fp8 --mem-fraction-static 0.5 --log-level warning\n"
    )


def test_what_stands_behind_two_dashes_is_for_servers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["play", "--", "x"])
    assert "play takes nothing behind --" in capsys.readouterr().err
