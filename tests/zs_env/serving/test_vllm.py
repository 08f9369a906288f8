"""Real vLLM, its build for CPUs, serves SmolLM2, and episodes are played with it; see docs/serving.md.

`ZS_VLLM_PYTHON` names the Python of the environment that vLLM is installed in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zs_env.serving.helpers import until
from tests.zs_env.serving.playing import play_at_once, play_serially
from zs_env.engines.llm.gguf import find_gguf
from zs_env.serving import Server, WatchSettings, serve

PYTHON = os.environ.get("ZS_VLLM_PYTHON", "")

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not PYTHON, reason="needs vLLM: ZS_VLLM_PYTHON names the Python that has it"),
]


def save_in_hugging_faces_format(folder: Path) -> None:
    """SmolLM2 from its GGUF file: as it is, it can't be saved, for what is read still counts as quantised."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = find_gguf("smollm2")
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config
    fresh = AutoModelForCausalLM.from_config(read.config)
    fresh.load_state_dict(read.state_dict())
    fresh.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = tmp_path_factory.mktemp("model")
    save_in_hugging_faces_format(model)
    watch = WatchSettings(log_dir=tmp_path_factory.mktemp("logs"))
    settings = {"python": PYTHON, "context_tokens": 2048, "parallel": 8, "memory_fraction": 0.2}
    told: list[str] = []
    with serve("vllm", model, port=0, served_model_name="smollm2", watch=watch, say=told.append, **settings) as server:
        yield server
        assert server.state == "healthy", told
        assert server.num_restarts == 0, told
        pid = server.pid
    until(lambda: not Path(f"/proc/{pid}").exists(), "it was gone")


def test_episodes_with_useful_and_with_noisy_documents(server: Server) -> None:
    searches = play_serially(server.base_url, noise=(0.0, 1.0), topk=1)
    assert {played["metadata"]["model"] for played in searches} == {"smollm2"}
    useful, noisy = searches
    assert useful["metadata"]["quality_checked"] in (True, False)
    assert not (noisy["metadata"]["quality_checked"] and noisy["contains_golden"])


def test_as_many_searches_at_once_as_it_works_on_each_with_a_seed(server: Server) -> None:
    searches = play_at_once(server.base_url, num_envs=8, topk=1, check=False)
    assert {played["quality"] for played in searches} == {"useful", "noisy"}
