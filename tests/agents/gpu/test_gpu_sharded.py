"""A sharded learner on a GPU, over NCCL, learns what a plain one on the CPU does; one rank, for NCCL wants GPUs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.agents.sharded.ranks import run_ranks
from tests.agents.sharded.scenarios import SCENARIOS

pytestmark = pytest.mark.gpu

LEARNING = ["llama_packed", "tied_recomputed", "lora"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    device = os.environ.get("TEST_DEVICE", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    names = [*LEARNING, "critic", "nan", "saves", "goes_on", "buckets"]
    return run_ranks(1, names, tmp_path_factory.mktemp("ranks"), device)[0]


@pytest.mark.parametrize("name", LEARNING)
def test_weights_move_as_the_cpus(name: str, found: dict[str, Any]) -> None:
    expected = SCENARIOS[name](None, Path())
    assert found[name]["untouched"]
    for part, began in expected["start"].items():
        way = expected["masters"][part] - began
        assert float((found[name]["masters"][part] - expected["masters"][part]).norm()) < 1e-2 * float(way.norm()), part
    for one, other in zip(found[name]["metrics"], expected["metrics"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-2, abs=1e-4)


def test_a_checkpoint_goes_on_as_if_nothing_was(found: dict[str, Any]) -> None:
    expected, again = found["saves"]["after"], found["goes_on"]["after"]
    for name, one in expected["masters"].items():
        torch.testing.assert_close(again["masters"][name], one, rtol=1e-4, atol=1e-6)


def test_weights_come_whole(found: dict[str, Any]) -> None:
    whole = found["buckets"]["whole"]
    for buckets in found["buckets"]["buckets"].values():
        together = {name: one for bucket in buckets for name, one in bucket.items()}
        assert list(together) == list(whole)
        assert all(torch.equal(together[name], one) for name, one in whole.items())
