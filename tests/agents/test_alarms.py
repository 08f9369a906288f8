import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.alarms import Alarm, AlarmSettings, CollapseAlarm
from agents.config import load_config
from zs_env.errors import ConfigError

CURVES = Path(__file__).parent / "curves"


def curve(name: str) -> list[dict[str, float]]:
    """The steps of a real quickstart run: `healthy`, or with a learning rate of 5e-3 or 2e-2; null is not logged."""
    columns = json.loads((CURVES / f"{name}.json").read_text())
    steps = [zip(columns, row, strict=True) for row in zip(*columns.values(), strict=True)]
    return [{name: value for name, value in step if value is not None} for step in steps]


def watch(steps: Sequence[Mapping[str, float]], **settings: Any) -> list[Alarm]:
    alarm = CollapseAlarm(AlarmSettings(**settings))
    return [found for step, metrics in enumerate(steps) for found in alarm.check(step, metrics)]


def one(name: str, values: Sequence[float], **settings: Any) -> list[tuple[int, str]]:
    return [(found.step, found.kind) for found in watch([{name: value} for value in values], **settings)]


def test_a_healthy_run_raises_nothing_with_room_to_spare() -> None:
    steps = curve("healthy")
    assert watch(steps) == []
    # Episodes double in length, and at the end reward falls by a tenth as noise grows: nothing by tighter bounds, too.
    tighter = {"length_jump": 1.5, "entropy_high": 2.25, "reward_fall": 0.3, "share_rise": 0.19, "grad_jump": 7.5}
    assert watch(steps, **tighter) == []


def test_a_learning_rate_too_high_is_told_while_reward_falls() -> None:
    found = watch(curve("learning_rate_too_high"))
    assert [alarm.kind for alarm in found] == ["entropy_explosion", "reward_fall"]
    assert found[1].step == 13
    assert "Reward 0.160 over the last 5 steps, from 0.433 at best, up to step 6" in found[1].message


def test_a_collapse_in_the_first_steps_is_told_at_once() -> None:
    found = [(alarm.step, alarm.kind) for alarm in watch(curve("learning_rate_far_too_high"))]
    assert found == [(4, "invalid_actions"), (5, "length_explosion"), (6, "reward_fall")]


@pytest.mark.parametrize(
    ("metric", "values", "kind", "numbers"),
    [
        ("entropy", [0.5] * 6 + [0.01] * 4, "entropy_collapse", ["0.0100", "since step 6", "2.0%", "0.5000"]),
        ("entropy", [0.5] * 6 + [2.0] * 4, "entropy_explosion", ["1.500", "since step 6", "from 0.500"]),
        ("policy_tokens", [100] * 6 + [400] * 4, "length_explosion", ["200.0", "since step 6", "100.0 just before"]),
        ("policy_tokens", [100] * 6 + [10] * 4, "length_shrinkage", ["40.0", "since step 6", "100.0 just before"]),
        ("kl", [0.01] * 6 + [5.0] * 4, "kl_blow_up", ["1.67", "since step 6", "above 1"]),
        ("invalid_share", [0.05] * 6 + [0.9] * 4, "invalid_actions", ["33%", "since step 6", "5% at best"]),
        ("out_of_tokens_share", [0.0] * 6 + [0.9] * 4, "out_of_tokens", ["30%", "since step 6", "max_episode_tokens"]),
        ("grad_norm", [0.2] * 6 + [3.0] * 4, "gradient_spike", ["length 3", "in step 6", "15 times", "0.2"]),
        (
            "reward_mean",
            [0.5, 0.6] * 4 + [0.1] * 6,
            "reward_fall",
            ["Reward 0.280", "from 0.560 at best, up to step 7"],
        ),
    ],
)
def test_each_kind_says_what_it_saw(metric: str, values: list[float], kind: str, numbers: list[str]) -> None:
    found = watch([{metric: value} for value in values])
    assert [alarm.kind for alarm in found] == [kind]
    for number in numbers:
        assert number in found[0].message
    assert found[0].message.count("People ") == 1


def test_a_kind_alarms_once_an_excursion() -> None:
    quiet, loud = [0.01] * 6, [3.0] * 6
    assert one("kl", quiet + loud + quiet + loud, window=1) == [(6, "kl_blow_up"), (18, "kl_blow_up")]
    # Back and forth across the bound is one excursion: it is over well below it only.
    assert one("kl", [1.01, 0.9] * 10, window=1) == [(0, "kl_blow_up")]


def test_a_single_odd_step_is_no_collapse() -> None:
    assert one("entropy", [0.5] * 8 + [2.5] + [0.5] * 8) == []
    assert one("policy_tokens", [100] * 8 + [300] + [100] * 8) == []
    assert one("reward_mean", [0.5, 0.55] * 5 + [0.0] + [0.5, 0.55] * 5) == []


def test_length_may_grow_slowly_but_not_without_end() -> None:
    assert one("policy_tokens", [30 + step for step in range(80)]) == []
    assert one("policy_tokens", [30 * 1.03**step for step in range(80)])[0][1] == "length_explosion"
    assert one("policy_tokens", [2, 2, 2, 2, 2, 2, 7, 7, 7, 1, 1, 1, 1]) == []  # short answers are no ramble


def test_reward_that_noise_takes_is_no_collapse() -> None:
    # A policy that answers from its one search: 0.8 where the documents are useful.
    noise = [0.0] * 10 + [0.75 * step / 60 for step in range(60)]
    steps = [
        {"reward_mean": 0.8 * (1 - p) + 0.05 * (-1) ** step, "noise_probability": p} for step, p in enumerate(noise)
    ]
    assert watch(steps) == []
    assert [kind for _, kind in one("reward_mean", [metrics["reward_mean"] for metrics in steps])] == ["reward_fall"]
    # But beyond what noise explains it is one, and less noise later takes nothing back.
    worse = [metrics | {"reward_mean": 0.02} for metrics in steps[-10:]]
    assert [alarm.kind for alarm in watch(steps[:40] + worse)] == ["reward_fall"]


def test_reward_falls_within_its_own_noise_are_chance() -> None:
    wild = [0.9, 0.1, 0.8, 0.9, 0.9, 0.1, 0.1, 0.6, 0.1, 0.2, 0.9, 0.1]
    assert one("reward_mean", wild) == []
    assert one("reward_mean", [0.0] * 20) == one("reward_mean", [-1.0, -1.5] * 10) == []


def test_what_is_missing_or_not_finite_is_passed_over() -> None:
    assert watch([{}, {"entropy": math.nan, "kl": math.inf}] * 20) == []
    quiet, loud = [{"kl": 0.01}, {"kl": math.nan}], [{"kl": 3.0}, {"kl": math.nan}]
    assert [alarm.step for alarm in watch(quiet * 4 + loud * 4)] == [8]


@pytest.mark.parametrize("at", [0, 1, 3, 7, 10, 12, 13])
def test_a_resumed_run_raises_what_the_whole_one_does(at: int) -> None:
    steps = curve("learning_rate_too_high")
    whole, first, second = CollapseAlarm(), CollapseAlarm(), CollapseAlarm()
    expected = [whole.check(step, metrics) for step, metrics in enumerate(steps)]
    found = [first.check(step, metrics) for step, metrics in enumerate(steps[:at])]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found += [second.check(step, metrics) for step, metrics in enumerate(steps[at:], start=at)]
    assert found == expected
    assert second.state_dict() == whole.state_dict()


def test_a_kept_state_is_not_changed_by_later_steps() -> None:
    alarm = CollapseAlarm()
    alarm.check(0, {"entropy": 0.5})
    kept = alarm.state_dict()
    text = json.dumps(kept)
    other = CollapseAlarm()
    other.load_state_dict(kept)
    for watcher in (alarm, other):
        watcher.check(1, {"entropy": 0.6})
    assert json.dumps(kept) == text


def test_an_alarm_is_plain_json() -> None:
    assert Alarm(3, "kl_blow_up", "m").to_json() == {"step": 3, "kind": "kl_blow_up", "message": "m"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "shout"}, "action must be one of"),
        ({"window": 0}, "window must be a whole number of at least 1"),
        ({"entropy_low": 1.5}, "entropy_low must be a number between 0 and 1"),
        ({"reward_fall": 0.0}, "reward_fall must be above 0"),
        ({"length_jump": 1.0}, "length_jump is a multiple: a finite number above 1"),
        ({"kl_limit": 0.0}, "kl_limit must be a finite number above 0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AlarmSettings(**settings)


def test_alarm_is_a_section() -> None:
    config = load_config({"model": {"source": "m"}, "alarm": {"action": "stop", "kl_limit": 2}})
    assert (config.alarm.action, config.alarm.kl_limit, config.record()["alarm"]["window"]) == ("stop", 2, 3)
