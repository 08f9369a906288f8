"""Both sides of each pair compute the same thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import kernels
from benchmarks.__main__ import main


def test_every_part_is_measured_in_both_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_VOCABULARY", 600)
    assert main(["kernels", "--repeats", "1", "--json", str(tmp_path / "record.json")]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["schema"] == kernels.SCHEMA
    assert len({(row["part"], row["dtype"]) for row in record["rows"]}) == 6
    for row in record["rows"]:
        assert row["ratio"] == pytest.approx(row["other_ms"] / row["ours_ms"])


def test_a_token_with_heads_as_rows_sees_what_torch_has_it_see() -> None:
    torch.manual_seed(0)
    ours, other = kernels._decoding(torch.float32)
    torch.testing.assert_close(ours().reshape(32, 9, 1, 64), other(), rtol=0, atol=1e-5)
