"""What is wrong is refused before anything is started; what is right becomes the servers' own words."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from zs_env.errors import ConfigError
from zs_env.serving.backends import command
from zs_env.serving.settings import ServeSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "tgi"}, "backend must be one of sglang, vllm, llamacpp; got 'tgi'"),
        ({"port": 70000}, "port must be a whole number from 0 .* to 65535; got 70000"),
        ({"tp": 0}, "tp must be a whole number of at least 1; got 0"),
        ({"dp": True}, "dp must be a whole number of at least 1; got True"),
        ({"quantization": "int3"}, "quantization must be one of awq, gptq, fp8, awq_marlin, gptq_marlin; got 'int3'"),
        ({"memory_fraction": 80}, "memory_fraction must be above 0 and below 1; got 80"),
        ({"host": " "}, "host must be an address"),
        ({"model": ""}, "model must not be empty"),
        ({"extra": "--dtype x"}, "extra must be a sequence of arguments, not one text"),
        ({"extra": ["--api-key", "s3cret"]}, "A key on a command line .*: use api_key_env"),
        ({"extra": ["--tp_size=2"]}, "extra must leave out --tp-size"),
        ({"threads": 2}, "sglang has no threads .*OMP_NUM_THREADS"),
        ({"backend": "llamacpp", "tp": 2}, "llamacpp has no tp .*one process"),
        ({"backend": "llamacpp", "dp": 2}, "llamacpp has no dp .*several servers on ports of their own"),
        ({"backend": "llamacpp", "quantization": "fp8"}, "llamacpp has no quantization .*quantised already"),
        ({"backend": "llamacpp", "memory_fraction": 0.5}, "llamacpp has no memory_fraction"),
        ({"backend": "llamacpp", "extra": ["--x"]}, "llamacpp takes no further arguments"),
    ],
)
def test_wrong_settings_say_the_rule_and_the_way_out(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ServeSettings(**{"backend": "sglang", "model": "m", **given})
    assert "s3cret" not in str(caught.value)


FULL: dict[str, Any] = {
    "tp": 2,
    "dp": 3,
    "quantization": "awq",
    "memory_fraction": 0.4,
    "context_tokens": 4096,
    "parallel": 64,
    "served_model_name": "sim",
    "python": "py",
    "extra": ["--log-level", "warning"],
}


def test_sglangs_words() -> None:
    assert shlex.join(command(ServeSettings(backend="sglang", model="o/m", **FULL))) == (
        "py -m sglang.launch_server --model-path o/m --host 127.0.0.1 --port 6001 --tp-size 2 --dp-size 3 "
        "--quantization awq --mem-fraction-static 0.4 --context-length 4096 --max-running-requests 64 "
        "--served-model-name sim --log-level warning"
    )


def test_vllms_words() -> None:
    assert shlex.join(command(ServeSettings(backend="vllm", model="o/m", **FULL))) == (
        "py -m vllm.entrypoints.openai.api_server --model o/m --host 127.0.0.1 --port 6001 --tensor-parallel-size 2 "
        "--data-parallel-size 3 --quantization awq --gpu-memory-utilization 0.4 --max-model-len 4096 "
        "--max-num-seqs 64 --served-model-name sim --log-level warning"
    )


@pytest.mark.parametrize("backend", ["sglang", "vllm", "llamacpp"])
def test_a_key_is_on_no_command_line(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM_KEY", "s3cret")
    shown = shlex.join(command(ServeSettings(backend=backend, model="m", api_key_env="SIM_KEY")))
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("extra", "needed"),
    [((), 6), (("--device", "cpu"), None), (("--nnodes=2",), None)],
)
def test_how_many_gpus_it_takes(extra: tuple[str, ...], needed: int | None) -> None:
    assert ServeSettings(backend="sglang", model="m", tp=2, dp=3, extra=extra).needed_gpus == needed
