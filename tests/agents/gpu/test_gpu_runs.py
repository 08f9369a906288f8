"""Runs on a GPU: they end, go on bit by bit, and go on on the other device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.checkpoints import read_state
from agents.executors import LocalExecutor
from agents.policy import Policy, load_policy
from agents.testing import byte_tokenizer, tiny_llama
from tests.agents.doubles import first_letters
from tests.agents.resuming import STEPS, Silent, assert_equal_runs, begin, go_on, metrics_of, sections
from zs_env.rewards import REWARDS

pytestmark = pytest.mark.gpu

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "grpo": {"training": {"kl_coef": 0.1}},
    "ppo-bf16": {"run": {"algorithm": "ppo"}, "model": {"dtype": "bfloat16"}, "critic": {"learning_rate": 1e-3}},
    "lean": {"model": {"dtype": "bfloat16"}, "optimizer": {"masters": "none", "kind": "adafactor"}},
    "lora": {"lora": {"rank": 2}},
}


class PlugPulledError(Exception):
    """Somebody pulled the plug."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    Policy(tiny_llama(), byte_tokenizer()).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def letters() -> Iterator[None]:
    REWARDS["letters"] = first_letters  # type: ignore[index]
    yield
    del REWARDS["letters"]  # type: ignore[attr-defined]


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU adds up in the same order each time, which is slower: by itself it promises no more than rounding."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the rollout of a step raise, once."""
    play = LocalExecutor.rollout

    def stop(step: int) -> None:
        count = 0

        def counted(self: LocalExecutor, tasks: Any) -> Any:
            nonlocal count
            count += 1
            if count > step:
                monkeypatch.setattr(LocalExecutor, "rollout", play)
                raise PlugPulledError
            return play(self, tasks)

        monkeypatch.setattr(LocalExecutor, "rollout", counted)

    return stop


def settings_of(model: Path, variant: str, device: str) -> dict[str, dict[str, Any]]:
    made = sections(model)
    for name, values in (*VARIANTS[variant].items(), ("run", {"device": device})):
        made[name] = made.get(name, {}) | values
    return made


@pytest.mark.usefixtures("letters", "in_order")
@pytest.mark.filterwarnings("ignore:.*determinis.*")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_was_stopped_goes_on_bit_by_bit(
    variant: str, device: torch.device, model: Path, tmp_path: Path, stop_at: Any
) -> None:
    settings = settings_of(model, variant, str(device))
    begin(tmp_path, "whole", settings, logger=Silent())
    stop_at(3)
    with pytest.raises(PlugPulledError):
        begin(tmp_path, "stopped", settings, logger=Silent())
    assert read_state(tmp_path / "stopped" / "checkpoint")["step"] == 3
    go_on(tmp_path, "stopped", {"model": {"source": str(model)}}, logger=Silent())
    assert_equal_runs(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("to_cpu", [True, False], ids=["from the gpu to the cpu", "from the cpu to the gpu"])
def test_a_run_goes_on_on_the_other_device(
    variant: str, to_cpu: bool, device: torch.device, model: Path, tmp_path: Path, stop_at: Any
) -> None:
    first, second = (str(device), "cpu") if to_cpu else ("cpu", str(device))
    stop_at(3)
    with pytest.raises(PlugPulledError):
        begin(tmp_path, "run", settings_of(model, variant, first), logger=Silent())
    given = {"model": {"source": str(model)}, "run": {"device": second}}
    go_on(tmp_path, "run", given, logger=Silent())
    assert [record["step"] for record in metrics_of(tmp_path / "run")] == list(range(STEPS))
    state = read_state(tmp_path / "run" / "checkpoint")
    assert state["step"] == STEPS
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["after"]
    # Played on the CPU, what was trained on either is the same policy.
    policy = load_policy(tmp_path / "run" / "checkpoint", base=str(model) if variant == "lora" else None)
    assert policy.device == torch.device("cpu")
