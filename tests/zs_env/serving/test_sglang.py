"""Every sglang command line that we can make, read by sglang's own parser. Runs where sglang is installed.

pip install sglang pytest gymnasium numpy aiohttp   # in a virtual environment of its own
PYTHONPATH=. python -m pytest tests/zs_env/serving/test_sglang.py
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

from zs_env.serving.backends import command
from zs_env.serving.settings import QUANTIZATIONS, ServeSettings

# Found, not imported: that takes long. A folder of that name isn't it.
_found = importlib.util.find_spec("sglang")
pytestmark = pytest.mark.skipif(
    _found is None or _found.origin is None, reason="needs sglang (an install of 11 GB, in an environment of its own)"
)

MODEL = "Qwen/Qwen2.5-14B-Instruct"


def parsed(**settings: Any) -> Any:
    from sglang.srt.server_args import prepare_server_args  # type: ignore[import-not-found,unused-ignore]

    given = command(ServeSettings(backend="sglang", model=MODEL, **settings))
    assert given[:3] == [sys.executable, "-m", "sglang.launch_server"]
    return prepare_server_args(given[3:])


def test_what_is_left_out_is_left_to_sglang() -> None:
    read = parsed()
    assert (read.model_path, read.host, read.port) == (MODEL, "127.0.0.1", 6001)
    assert (read.tp_size, read.dp_size, read.quantization, read.mem_fraction_static) == (1, 1, None, None)
    assert (read.context_length, read.max_running_requests, read.api_key) == (None, None, None)


CASES = list(itertools.product((1, 2, 8), (1, 4), (None, *QUANTIZATIONS), (None, 0.4)))


@pytest.mark.parametrize(("tp", "dp", "quantization", "memory_fraction"), CASES)
def test_each_combination_is_read_as_it_was_meant(
    tp: int, dp: int, quantization: str | None, memory_fraction: float | None
) -> None:
    read = parsed(tp=tp, dp=dp, quantization=quantization, memory_fraction=memory_fraction)
    assert (read.tp_size, read.dp_size) == (tp, dp)
    assert (read.quantization, read.mem_fraction_static) == (quantization, memory_fraction)


def test_all_the_rest_is_read_as_it_was_meant() -> None:
    read = parsed(
        host="0.0.0.0",
        port=30001,
        context_tokens=4096,
        parallel=64,
        served_model_name="sim",
        extra=("--log-level", "warning", "--enable-dp-attention"),
    )
    assert (read.host, read.port, read.context_length, read.max_running_requests) == ("0.0.0.0", 30001, 4096, 64)
    assert (read.served_model_name, read.log_level, read.enable_dp_attention) == ("sim", "warning", True)


def test_a_key_joins_the_arguments_inside_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    from sglang.srt.server_args import prepare_server_args

    monkeypatch.setenv("ZS_SERVER_API_KEY", "s3cret")
    given = command(ServeSettings(backend="sglang", model=MODEL, api_key_env="SIM_KEY"))
    assert given[1] == "-c"
    started: list[list[str]] = []
    monkeypatch.setattr(runpy, "run_module", lambda *_, **__: started.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["-c", *given[3:]])
    exec(given[2])
    assert prepare_server_args(started[0]).api_key == "s3cret"


def test_the_module_that_is_started_is_there() -> None:
    assert _found is not None
    assert _found.origin is not None
    assert Path(_found.origin).with_name("launch_server.py").is_file()
