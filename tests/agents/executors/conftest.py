"""A tiny model in a folder, and the reward that a random model can earn."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_lfm2
from tests.agents.doubles import first_letters
from tests.agents.executors.scaled import scaled, unscaled
from tests.agents.resuming import begin
from zs_env.rewards import REWARDS


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    Policy(tiny_lfm2(), byte_tokenizer()).save(folder)
    return folder


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARDS, "letters", first_letters)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def undisturbed(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `scaled`, in one process, that nothing happens to."""
    root = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REWARDS, "letters", first_letters)  # type: ignore[arg-type]
        begin(root, "local", unscaled(scaled(saved_model)))
    return root / "local"
