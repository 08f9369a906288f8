"""The share of a peak is worked out from what the tokens need, not from what was done."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from agents.testing import tiny_llama
from benchmarks.__main__ import main


@pytest.fixture
def shape(tmp_path: Path) -> Path:
    tiny_llama().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def measured(shape: Path, file: Path, *more: str) -> dict[str, Any]:
    command = ["utilisation", "--shape", str(shape), "--device", "cpu", "--dtype", "float32", "--groups", "2"]
    command += ["--group-size", "3", "--repeats", "2", "--peak-tflops", "0.1", "--json", str(file)]
    assert main([*command, *more]) == 0
    record: dict[str, Any] = json.loads(file.read_text())
    return record


def test_operations_are_those_of_the_tokens_that_have_to_be_computed(
    shape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = measured(shape, tmp_path / "record.json")
    # Two prompts of 200 once, and for each of six episodes 4 × 40 + 3 × 60 tokens less the last one.
    assert record["computed_tokens"] == 2 * 200 + 6 * (4 * 40 + 3 * 60 - 1)
    assert record["tokens"] == 6 * (200 + 4 * 40 + 3 * 60)
    assert record["policy_tokens"] == 6 * 4 * 40
    # A layer of the tiny Llama: 32×32 and 32×32 for queries and output, 2 × 16×32 for keys and values, 3 × 32×48.
    weights = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 48)
    contexts = 2 * sum(range(1, 201)) + 6 * sum(range(201, 540))
    attention = 2 * 4 * 32 * contexts  # two layers: scores and sums over 32 = 4 × 8 query channels, 2 operations each
    wanted = 3 * (2 * weights * record["computed_tokens"] + attention + 2 * 272 * 32 * record["policy_tokens"])
    assert record["tflop"] * 1e12 == pytest.approx(wanted, rel=1e-6)
    assert record["mfu"] == pytest.approx(wanted / statistics.median(record["seconds"]) / 1e11)
    assert "packed, shared prompts once | blockwise" in capsys.readouterr().out


def test_activations_that_are_made_again_count_once(shape: Path, tmp_path: Path) -> None:
    plain = measured(shape, tmp_path / "one.json")
    again = measured(shape, tmp_path / "two.json", "--gradient-checkpointing", "--micro-batch-tokens", "900")
    assert again["tflop"] == plain["tflop"]
    assert again["settings"]["gradient_checkpointing"]
