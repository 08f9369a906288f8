"""Settings of a training that can't be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zs_env.errors import ConfigError
from zs_env.tuning.hardware import check_memory
from zs_env.tuning.training_settings import TrainingSettings


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 10, "micro_batch_size": 4}, "multiple of micro_batch_size"),
        ({"lora_rank": 0}, "lora_rank"),
        ({"minutes": 0.0}, "minutes"),
        ({"epochs": float("inf")}, "epochs"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"warmup": 1.0}, "warmup"),
        ({"dtype": "float16"}, "dtype"),
        ({"adapters_only": True}, "without lora_rank"),
        ({"lora_alpha": 8.0}, "without lora_rank"),
        ({"max_tokens": 3}, "max_tokens"),
    ],
)
def test_wrong_settings_name_what_is_wrong(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TrainingSettings(**wrong)


def test_what_changes_no_weight_may_differ_when_a_training_goes_on() -> None:
    settings = TrainingSettings()
    assert replace(settings, threads=2, save_minutes=1.0, tensorboard=True).to_json() == settings.to_json()
    assert replace(settings, seed=1).to_json() != settings.to_json()


def test_a_model_that_can_t_fit_is_refused_before_it_is_tried() -> None:
    full, lora = TrainingSettings(), TrainingSettings(lora_rank=8)
    with pytest.raises(ConfigError, match=r"11\.2 GiB .* 8\.0 GiB are free on cpu: give --lora-rank"):
        check_memory(10**9, full, "cpu", frozen=False, free=8 * 2**30)
    check_memory(10**9, lora, "cpu", frozen=True, free=8 * 2**30)
    check_memory(10**8, full, "cpu", frozen=False, free=8 * 2**30)
