"""Turns of a fixed length are timed, with steps that can be played back and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.testing import tiny_llama
from benchmarks.__main__ import main


def test_every_row_writes_to_the_end_in_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_llama().save_pretrained(tmp_path / "model")
    file = tmp_path / "record.json"
    command = ["decoding", "--shape", str(tmp_path / "model"), "--device", "cpu", "--dtype", "float32"]
    command += ["--rows", "3", "--prompt-tokens", "5", "--new-tokens", "8", "--repeats", "2", "--json", str(file)]
    assert main(command) == 0
    assert "| played back |" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert [way["recorded"] for way in record["ways"]] == [True, False]
    for way in record["ways"]:
        assert way["tokens_per_s"] == pytest.approx(3 * 8 / way["turn_s"])
    # Weights in float32, and of 3 rows with 5 + 4 tokens keys and values of 2 layers × 2 heads × 8.
    parameters = sum(one.numel() for one in tiny_llama().parameters())
    assert record["least_step_bytes"] == 4 * parameters + 3 * 9 * 2 * 2 * 16 * 4


def test_a_turn_too_short_to_tell_a_steps_time_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decoding", "--new-tokens", "1"]) == 2
    assert "--new-tokens must be a whole number of at least 2; got 1" in capsys.readouterr().err
