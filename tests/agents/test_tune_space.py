from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.config import load_preset
from agents.tune import Sweep, SweepSettings, read_sweep, sweep
from agents.tune.command import table
from agents.tune.space import check_space, lay_over, read_space, tune_space
from zs_env.errors import ConfigError

RATE = {"loguniform": [1e-4, 1e-3]}


def test_a_space_is_read_with_and_without_quotes() -> None:
    quoted = read_space({"optimizer.learning_rate": RATE, "training.clip_high": {"choice": [0.2, 0.3]}})
    nested = read_space({"optimizer": {"learning_rate": RATE}, "training": {"clip_high": {"choice": [0.2, 0.3]}}})
    assert quoted == nested
    assert [dimension.name for dimension in quoted] == ["optimizer.learning_rate", "training.clip_high"]
    assert quoted[1].values == (0.2, 0.3)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "at least one setting"),
        ({"learning_rate": RATE}, 'write "section.key"'),
        ({"optimiser.learning_rate": RATE}, "Sections: run, model"),
        ({"optimizer.rate": RATE}, "\\[optimizer\\] has no 'rate'. It has: kind, masters, learning_rate"),
        ({"training.total_steps": {"choice": [1, 2]}}, "can't be searched through: how long"),
        ({"optimizer.learning_rate": 1e-3}, "needs one of choice, grid, uniform"),
        ({"optimizer.learning_rate": {"normal": [0, 1]}}, "needs one of choice, grid, uniform"),
        ({"optimizer.learning_rate": {"choice": []}}, "a list follows"),
        ({"optimizer.learning_rate": {"choice": "abc"}}, "a list follows"),
        ({"optimizer.learning_rate": {"uniform": [1e-3, 1e-4]}}, "the smaller one first"),
        ({"optimizer.learning_rate": {"uniform": [1e-3]}}, "two numbers"),
        ({"optimizer.learning_rate": {"loguniform": [0, 1e-4]}}, "above 0"),
        ({"training.group_size": {"randint": [2, 4.5]}}, "two whole numbers"),
    ],
)
def test_a_wrong_space_is_told(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_space(space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"training.group_size": {"choice": [4, "many"]}}, "group_size = 'many'.*of type int"),
        ({"optimizer.learning_rate": {"uniform": [-1.0, 1e-3]}}, "learning_rate = -1.0"),
        ({"run.algorithm": {"grid": ["grpo", "dpo"]}}, "algorithm = 'dpo'"),
        ({"training.group_size": {"uniform": [2, 8]}}, "group_size between 2 and 8.*of type int; got 5.0"),
        (
            {"rollout.max_new_tokens": {"choice": [64, 800]}, "rollout.max_episode_tokens": {"choice": [1024, 512]}},
            "max_new_tokens = 800, rollout.max_episode_tokens = 512",
        ),
        ({"training.aggregation": {"grid": ["token_mean", "sum"]}}, "aggregation = 'sum'"),
    ],
)
def test_every_choice_and_both_ends_are_tried_before_anything_starts(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_space(load_preset("quickstart"), read_space(space))


def test_a_trials_settings_lie_over_the_others() -> None:
    base = {"optimizer": {"learning_rate": 1.0, "schedule": "linear"}}
    made = lay_over(base, {"optimizer.learning_rate": 2.0, "run.seed": 3})
    assert made == {"optimizer": {"learning_rate": 2.0, "schedule": "linear"}, "run": {"seed": 3}}
    assert base == {"optimizer": {"learning_rate": 1.0, "schedule": "linear"}}


def test_tune_draws_what_the_space_says() -> None:
    pytest.importorskip("ray.tune")
    space = read_space(
        {
            "optimizer.learning_rate": RATE,
            "training.group_size": {"randint": [2, 4]},
            "training.num_minibatches": {"lograndint": [1, 2]},
            "training.clip_high": {"uniform": [0.2, 0.3]},
            "grpo.std": {"choice": ["sample", "none"]},
            "run.seed": {"grid": [0, 1]},
        }
    )
    made = tune_space(space)
    assert made["run.seed"] == {"grid_search": [0, 1]}
    drawn = {name: [domain.sample() for _ in range(200)] for name, domain in made.items() if name != "run.seed"}
    assert set(drawn["training.group_size"]) == {2, 3, 4}  # both ends included
    assert set(drawn["training.num_minibatches"]) == {1, 2}
    assert set(drawn["grpo.std"]) == {"sample", "none"}
    assert all(1e-4 <= rate <= 1e-3 for rate in drawn["optimizer.learning_rate"])
    assert 60 <= sum(rate < 10**-3.5 for rate in drawn["optimizer.learning_rate"]) <= 140


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metric": "exactmatch"}, "did you mean 'exact_match'.*reward_mean"),
        ({"mode": "best"}, "'max', 'min'; got 'best'"),
        ({"scheduler": "pbt"}, "'asha', 'none'"),
        ({"num_samples": 0}, "num_samples"),
        ({"grace_steps": 0}, "grace_steps"),
        ({"reduction_factor": 1}, "reduction_factor must be a number above 1"),
        ({"cpus_per_trial": 0}, "cpus_per_trial must be a number above 0"),
        ({"gpus_per_trial": -1}, "gpus_per_trial must be a number at least 0"),
        ({"cpus_per_trial": 10_000}, "no trial would ever start"),
    ],
)
def test_wrong_settings_of_a_sweep_are_told(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SweepSettings(**values)


FILE = """
extends = "quickstart"
[sweep]
num_samples = 3
[space]
"optimizer.learning_rate" = { loguniform = [1e-4, 1e-3] }
[training]
total_steps = 7
"""


def test_a_file_extends_a_preset_or_another_file(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(FILE)
    found = read_sweep(tmp_path / "sweep.toml")
    assert found.settings == SweepSettings(num_samples=3)
    assert found.sections["training"]["total_steps"] == 7
    assert found.sections["training"]["group_size"] == 8
    (tmp_path / "base.toml").write_text('extends = "quickstart"\n[training]\ngroup_size = 5\n')
    (tmp_path / "sweep.toml").write_text(FILE.replace('"quickstart"', '"base.toml"'))
    assert read_sweep(tmp_path / "sweep.toml").sections["training"]["group_size"] == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_samples = 3", "samples = 3", "did you mean 'num_samples'"),
        ("num_samples = 3", "num_samples = 0", "sweep.toml: \\[sweep\\] num_samples"),
        ('"quickstart"', '"nothing"', "neither a preset"),
        ("total_steps = 7", "steps = 7", "has no 'steps'"),
        ("[sweep]", "[sweep", "is no TOML"),
    ],
)
def test_a_wrong_file_is_told(old: str, new: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(FILE.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_sweep(tmp_path / "sweep.toml")


def given(**settings: Any) -> Sweep:
    sections = load_preset("quickstart")
    sections["training"]["total_steps"] = 10
    return Sweep(settings=SweepSettings(**settings), space={"optimizer.learning_rate": RATE}, sections=sections)


@pytest.mark.parametrize(("grace", "factor", "rungs"), [(5, 2.0, [5, 10, 20]), (39, 2.0, [39]), (13, 3.0, [13, 39])])
def test_no_rung_is_at_the_last_of_40_steps(grace: int, factor: float, rungs: list[int]) -> None:
    """There a trial would be stopped that has only its evaluation left."""
    pytest.importorskip("ray.tune")
    from agents.tune.running import _scheduler

    scheduler = _scheduler(SweepSettings(grace_steps=grace, reduction_factor=factor), 40)
    assert sorted(milestone for milestone, _ in scheduler._brackets[0]._rungs) == rungs


def test_what_can_not_work_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no trial would ever be stopped"):
        sweep(given(grace_steps=10), "mine", root=tmp_path)
    with pytest.raises(ConfigError, match="no sweep 'mine'"):
        sweep(given(), "mine", root=tmp_path, resume=True)
    with pytest.raises(ConfigError, match="not both"):
        sweep(given(), "mine", root=tmp_path, resume=True, overwrite=True)
    with pytest.raises(ConfigError, match="name has letters"):
        sweep(given(), "my sweep", root=tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="no sweep's folder"):
            sweep(given(), "run", root=tmp_path, overwrite=overwrite)
    assert (tmp_path / "run" / "config.json").exists()


def test_a_sweep_goes_on_with_its_own_settings_alone(tmp_path: Path) -> None:
    from zs_env.files import write_json

    (tmp_path / "mine").mkdir()
    write_json(tmp_path / "mine" / "sweep.json", given().record())
    with pytest.raises(ConfigError, match=r"\[sweep\] num_samples was 8 and is now 9"):
        sweep(given(num_samples=9), "mine", root=tmp_path, resume=True)
    with pytest.raises(ConfigError, match="--resume to go on with it"):
        sweep(given(), "mine", root=tmp_path)


def test_a_table_shows_the_trials_of_a_record() -> None:
    trials = [
        {
            "run": f"trial_0000{i}",
            "status": status,
            "steps": steps,
            "settings": {"optimizer.learning_rate": 1e-3 * (i + 1)},
            "exact_match": value,
            "after": {"noise_0.5/em_greedy": 0.5} if status == "finished" else {},
        }
        for i, (status, steps, value) in enumerate([("finished", 9, 0.25), ("stopped early", 3, None)])
    ]
    record = {
        "metric": "exact_match",
        "total_steps": 9,
        "trials": trials,
        "steps": {"taken": 12, "without_stopping": 18},
    }
    lines = table(record).splitlines()
    assert lines[0].split("  ")[0] == "trial"
    assert lines[1].split() == ["trial_00000", "finished", "9/9", "0.25", "0.5", "0.001"]
    assert lines[2].split() == ["trial_00001", "stopped", "early", "3/9", "–", "–", "0.002"]
    assert lines[-1] == "12 training steps were taken, of 18 without stopping early."
