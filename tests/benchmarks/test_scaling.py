from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.cli import parser, sections_of
from agents.config import load_config
from benchmarks.__main__ import main
from benchmarks.scaling.arms import ARMS, arm_named, write_settings
from benchmarks.scaling.command import measure
from benchmarks.scaling.predict import predict
from benchmarks.scaling.runs import measured_steps, medians, read_metrics
from benchmarks.scaling.tables import compare, render
from zs_env.errors import ConfigError

ALONE = {"rollout_s": {"1": 4.0, "0.5": 3.0}, "update_s": {"1": 2.0, "0.5": 1.5}}
RAY = {"call_s": 0.001, "put_s": 0.02, "get_s": 0.01, "there_and_back_s": 0.1}


def step_of(name: str) -> float:
    arm = arm_named(name)
    return predict(arm, ALONE, RAY).step(asynchronous=arm.asynchronous)


def test_predictions_by_hand() -> None:
    assert step_of("local") == 6
    # Weights into the store and out; episodes to the driver, which is half a way there and back, and to the learner for
    # log-probs and the update; five calls.
    sending = 0.02 + 0.01 + 0.15
    assert step_of("ray-1-1") == pytest.approx(6 + sending + 5 * 0.001)
    # Ahead, the slower side: playing, with the weights it fetches.
    assert step_of("ray-1-1-async") == pytest.approx(4 + 0.01 + 0.05 + 5 * 0.001)
    assert step_of("ray-1-2") == pytest.approx(3 + 2 + sending + 6 * 0.001)
    assert step_of("ray-2-1") == pytest.approx(4 + 1.5 + sending + 9 * 0.001)


def test_measured_and_predicted_are_compared() -> None:
    rounds = [{"step_s": 2.0, "first_s": 4.0}, {"step_s": 3.0, "first_s": 3.0}, {"step_s": 2.5, "first_s": 2.0}]
    assert compare(rounds, 2.0) == {
        "step_s": 2.5,
        "ratio": 1.0,
        "ratio_least": 0.5,
        "ratio_most": 1.25,
        "predicted_s": 2.0,
        "error_percent": pytest.approx(-20),
    }


def test_warm_up_steps_are_not_counted(tmp_path: Path) -> None:
    lines = [{"step": step, "metrics": {"step_s": float(step), "loss": 1.0}} for step in range(5)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kept = measured_steps(read_metrics(tmp_path))
    assert kept == [{"step_s": 2.0}, {"step_s": 3.0}, {"step_s": 4.0}]
    assert medians(kept) == {"step_s": 3.0}


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
@pytest.mark.parametrize("preset", ["quickstart", "smollm2"])
def test_arms_are_runs_of_train_that_differ_in_where_they_run_alone(tmp_path: Path, preset: str, arm: object) -> None:
    file = tmp_path / "scaling.toml"
    write_settings(file, preset=preset, steps=3, questions=4, group_size=2)
    flags = ["train", "--config", str(file), *arm.flags]  # type: ignore[attr-defined]
    config = load_config(sections_of(parser().parse_args(flags)))
    assert (config.training.total_steps, config.training.questions_per_step) == (3, 4)
    assert (config.grpo.zero_variance, config.imitation.num_steps) == ("keep", 0)
    assert config.run.executor == ("ray" if arm.samplers else "local")  # type: ignore[attr-defined]
    assert config.scale.max_staleness == int(arm.asynchronous)  # type: ignore[attr-defined]


def test_what_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scaling", "--arms", "ray-9-9"]) == 2
    assert "Unknown arm 'ray-9-9'. Available: local, ray-1-1," in capsys.readouterr().err
    assert main(["scaling", "--group-size", "1"]) == 2
    assert "--group-size must be a whole number of at least 2; got 1" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="Unknown arm 'slow'"):
        arm_named("slow")


@pytest.mark.slow
def test_a_small_measurement_makes_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    arms = [arm_named(name) for name in ("local", "ray-1-1-async")]
    record = measure(arms, preset="quickstart", questions=2, group_size=2, steps=1, repeats=1)
    for arm in record["arms"]:
        assert arm["compared"]["step_s"] > 0
        assert arm["compared"]["predicted_s"] > 0
    assert record["arms"][0]["compared"]["ratio"] == 1
    assert record["alone"]["weights_bytes"] > 500_000
    assert "| one process |" in render(record)
    assert "a step ahead" in render(record)
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record))
    assert main(["scaling", "--render", str(file)]) == 0
    assert capsys.readouterr().out.strip() == render(record)
