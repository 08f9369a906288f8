"""A sampler plays with the weights that it is given, whatever number they have."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from agents.config import load_config
from agents.executors.shipping import arrays_of, shape_of, weights_of
from agents.executors.workers import SamplerWorker, WorkerPlace
from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_lfm2
from tests.agents.executors.scaled import scaled


class Part:
    """A part of published weights, as Ray's reference to it is."""

    def __init__(self, name: str, arrays: Any) -> None:
        self.name, self.arrays = name, arrays

    def hex(self) -> str:
        return self.name


@pytest.mark.parametrize("version", [0, 1])
def test_weights_are_told_apart_by_what_they_are_not_by_their_number(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda given: _given(given)))
    first, other = (Policy(tiny_lfm2(seed=seed), byte_tokenizer()) for seed in (0, 1))
    config = load_config(scaled(tmp_path))
    place = WorkerPlace(folder=os.getcwd(), threads=1, on_gpu=False)
    worker = SamplerWorker(config, place, 0, config.episode.settings(config.search.topk), None)
    began = [Part("a", arrays_of(weights_of(first)))]
    worker.start(shape_of(first), began, 0)
    # As after learners that began again: the same number, other weights.
    worker.play([], "training", 0, version, [Part("b", arrays_of(weights_of(other)))])
    held = dict(worker._policy.model.named_parameters())
    assert all(torch.equal(held[name], one) for name, one in weights_of(other).items())
    worker.play([], "training", 0, 0, began)
    assert all(torch.equal(held[name], one) for name, one in weights_of(first).items())


def _given(given: Any) -> Any:
    return [part.arrays for part in given] if isinstance(given, list) else given.arrays
