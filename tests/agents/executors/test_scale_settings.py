"""[scale]: what is refused, before anything is started."""

from __future__ import annotations

from typing import Any

import pytest

from agents.config import TrainConfig, load_config
from agents.executors.settings import ScaleSettings
from zs_env.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_learners": 0}, "num_learners must be .*1.*; got 0"),
        ({"num_samplers": -1}, "num_samplers must be .*1.*; got -1"),
        ({"chunks_per_sampler": 0}, "chunks_per_sampler must be .*; got 0"),
        ({"bucket_megabytes": 0}, "bucket_megabytes must be .*; got 0"),
        ({"max_staleness": -1}, "max_staleness must be .*; got -1"),
        ({"max_replacements": -1}, "max_replacements must be .*; got -1"),
        ({"sampler_timeout_s": 0.0}, "sampler_timeout_s is a number of seconds, above 0; got 0"),
        ({"learner_timeout_s": -3.0}, "learner_timeout_s is a number of seconds, above 0; got -3"),
        ({"start_timeout_s": float("nan")}, "start_timeout_s is a number of seconds, above 0; got nan"),
        ({"gpus_per_learner": 2.0}, "gpus_per_learner must be 0, a fraction below 1 .*or 1, as .*; got 2.0"),
        ({"gpus_per_learner": -0.5}, "gpus_per_learner must be .*; got -0.5"),
        ({"gpus_per_sampler": 1.5}, "gpus_per_sampler must be .*a whole number; got 1.5"),
        ({"address": " "}, "address is empty: give a running Ray cluster"),
    ],
)
def test_values_that_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScaleSettings(**values)


@pytest.mark.parametrize("values", [{"gpus_per_sampler": 4.0}, {"gpus_per_learner": 0.25}, {"gpus_per_learner": 0.0}])
def test_values_that_are_taken(values: dict[str, Any]) -> None:
    assert ScaleSettings(**values)


def config(executor: str, scale: dict[str, Any], **sections: dict[str, Any]) -> TrainConfig:
    return load_config({"run": {"executor": executor}, "model": {"source": "m"}, "scale": scale, **sections})


def test_one_process_has_no_scale() -> None:
    with pytest.raises(ConfigError, match=r"\[scale\] num_learners, max_staleness is for executor='ray'"):
        config("local", {"num_learners": 2, "num_samplers": 1, "max_staleness": 1})
    assert config("local", {"num_learners": 1})  # as it is anyway
    assert config("ray", {"num_learners": 2})


def test_stale_episodes_are_corrected_for() -> None:
    with pytest.raises(ConfigError, match="max_staleness=1 learns from episodes of older weights"):
        config("ray", {"max_staleness": 1})
    assert config("ray", {"max_staleness": 1}, training={"old_logprobs": "recomputed", "importance_cap": 2.0})


def test_an_unknown_executor() -> None:
    with pytest.raises(ConfigError, match="'slurm'"):
        config("slurm", {})
