"""A policy arrives in a process that has made none itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agents.executors.shipping import arrays_of, shape_of, weights_of
from agents.policy import Policy
from agents.testing import MODELS, byte_tokenizer

_UNPACK = """
import pickle, sys
from agents.executors.shipping import tensors_of, unpack
shape, arrays, ids = pickle.load(open(sys.argv[1], "rb"))
policy = unpack(shape, dict(tensors_of(arrays)))
print(policy.unpackable, policy.plain_head)
pickle.dump(policy.model(ids).logits.tolist(), open(sys.argv[2], "wb"))
"""


@pytest.mark.parametrize("name", sorted(MODELS))
def test_another_process_computes_the_same(name: str, tmp_path: Path) -> None:
    policy = Policy(MODELS[name](), byte_tokenizer())
    ids = torch.arange(1, 13).reshape(2, 6)
    (tmp_path / "sent").write_bytes(pickle.dumps((shape_of(policy), arrays_of(weights_of(policy)), ids)))
    given = [sys.executable, "-c", _UNPACK, str(tmp_path / "sent"), str(tmp_path / "found")]
    said = subprocess.run(given, check=True, capture_output=True, text=True).stdout
    assert said.split("\n")[0] == f"{policy.unpackable} {policy.plain_head}"
    found = torch.tensor(pickle.loads((tmp_path / "found").read_bytes()))
    assert torch.allclose(found, policy.model(ids).logits, atol=1e-5)
