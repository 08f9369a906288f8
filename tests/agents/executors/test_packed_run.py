"""Models of attention alone, whose episodes are packed, are spread over processes like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_llama
from tests.agents.executors.scaled import assert_close_runs, scaled, unscaled
from tests.agents.resuming import begin


@pytest.mark.slow
def test_a_model_whose_episodes_are_packed(tmp_path: Path) -> None:
    Policy(tiny_llama(), byte_tokenizer()).save(tmp_path / "llama")
    settings = scaled(tmp_path / "llama", training={"total_steps": 3})
    begin(tmp_path, "scaled", settings)
    begin(tmp_path, "local", unscaled(settings))
    assert_close_runs(tmp_path / "local", tmp_path / "scaled")
    compute = json.loads((tmp_path / "scaled" / "summary.json").read_text())["compute"]
    assert compute["layout"] == "packed, shared prompts once"
