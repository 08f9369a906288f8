"""A policy arrives in a process that has made none itself."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agents.executors.shipping import arrays_of, shape_of, weights_of
from agents.policy import Policy, load_policy
from agents.testing import MODELS, byte_tokenizer, tiny_llama

_UNPACK = """
import pickle, sys
from agents.executors.shipping import tensors_of, unpack
shape, arrays, ids = pickle.load(open(sys.argv[1], "rb"))
policy = unpack(shape, dict(tensors_of(arrays)))
print(policy.unpackable, policy.plain_head)
pickle.dump(policy.model(ids).logits.tolist(), open(sys.argv[2], "wb"))
"""


def with_its_own_code(folder: Path) -> Policy:
    Policy(tiny_llama(), byte_tokenizer()).save(folder)
    (folder / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\n\n\nclass OwnForCausalLM(LlamaForCausalLM):\n    pass\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}, "architectures": ["OwnForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    return load_policy(str(folder), trust_remote_code=True)


@pytest.mark.parametrize("name", [*sorted(MODELS), "own code"])
def test_another_process_computes_the_same(name: str, tmp_path: Path) -> None:
    made = with_its_own_code(tmp_path / "model") if name == "own code" else None
    policy = made or Policy(MODELS[name](), byte_tokenizer())
    ids = torch.arange(1, 13).reshape(2, 6)
    (tmp_path / "sent").write_bytes(pickle.dumps((shape_of(policy), arrays_of(weights_of(policy)), ids)))
    given = [sys.executable, "-c", _UNPACK, str(tmp_path / "sent"), str(tmp_path / "found")]
    said = subprocess.run(given, check=True, capture_output=True, text=True).stdout
    assert said.split("\n")[0] == f"{policy.unpackable} {policy.plain_head}"
    found = torch.tensor(pickle.loads((tmp_path / "found").read_bytes()))
    assert torch.allclose(found, policy.model(ids).logits, atol=1e-5)


def test_code_that_is_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    policy = with_its_own_code(tmp_path / "model")
    (tmp_path / "sent").write_bytes(pickle.dumps((shape_of(policy), arrays_of(weights_of(policy)), None)))
    given = [sys.executable, "-c", _UNPACK, str(tmp_path / "sent"), str(tmp_path / "found")]
    environment = os.environ | {"HF_MODULES_CACHE": str(folder)}
    said = subprocess.run(given, check=False, capture_output=True, text=True, env=environment).stderr
    assert "ModelError: The code of the model or its tokenizer isn't where other processes can import it" in said
