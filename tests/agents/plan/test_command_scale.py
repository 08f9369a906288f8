from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from agents.plan.cluster import ClusterNumbers

SCALE = ("plan", "scale")


def shown_by(capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    assert main([*SCALE, *(str(flag) for flag in flags)]) == 0
    return capsys.readouterr().out


def test_a_pair_shows_its_phases(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "scale.json"
    shown = shown_by(capsys, "--policy", "7b", "--simulator", "7b", "--gpus", 4, 16, "--json", file)
    assert "a step of 64 × 5 episodes, synchronous, h100, sampler vllm. Estimates, not measurements." in shown
    assert "qwen2.5-7b with a simulator of qwen2.5-7b does not fit 4 GPUs of 80 GB" in shown
    record: dict[str, Any] = json.loads(file.read_text())
    assert record["schema"] == "zerosearch.scaling-plan/1"
    too_few, found = record["pairs"][0]["cells"]
    assert not too_few["fits"]
    seconds, split = found["seconds"], found["split"]
    assert seconds["step"] == pytest.approx(sum(value for name, value in seconds.items() if name != "step"))
    assert found["gpu_hours"] == pytest.approx(seconds["step"] * 200 / 3600 * found["used_gpus"])
    row = next(line for line in shown.splitlines() if line.startswith("| 16 "))
    assert f"| 16 | {found['used_gpus']} | {split['learners']} |" in row
    assert f"| {seconds['step']:.1f} | {found['bottleneck']} |" in row
    assert f"| {320 / seconds['step']:.1f} |" in row


def test_several_pairs_make_a_map(capsys: pytest.CaptureFixture[str]) -> None:
    shown = shown_by(capsys, "--policy", "3b", "7b", "--simulator", "14b", "--gpus", 4, 8, "--asynchronous")
    rows = [line for line in shown.splitlines() if line.startswith("| qwen")]
    assert [row.split(" | ")[0] for row in rows] == ["| qwen2.5-3b", "| qwen2.5-7b"]
    assert rows[1].split(" | ")[2] == "–"
    assert "64 × 5 episodes, asynchronous" in shown


def test_a_split_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "scale.json"
    flags = ("--policy", "7b", "--simulator", "7b", "--learners", 4, "--samplers", 2, "--simulators", 1, "--json", file)
    shown_by(capsys, *flags)
    (cell,) = json.loads(file.read_text())["pairs"][0]["cells"]
    assert (cell["num_gpus"], cell["used_gpus"], cell["split"]["samplers"]) == (7, 7, 2)


def test_numbers_are_shown_and_can_be_given(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shown = shown_by(capsys, "--numbers", "--assume", "put_gb_s=9.5", "--assume", "mfu=0.3")
    assert "| `put_gb_s` | 9.5 | given |" in shown
    assert "| `mfu` | 0.3 | given |" in shown
    assert "| `call_ms` | 0.8 | measured:" in shown
    assert "| `decode_mfu` | 0.2 | assumption of the plan |" in shown
    for name in ClusterNumbers.__dataclass_fields__:
        assert f"| `{name}` |" in shown
    files = [tmp_path / "slow.json", tmp_path / "fast.json"]
    for file, speed in zip(files, (1, 100), strict=True):
        given = ("--assume", f"put_gb_s={speed}", "--assume", f"transfer_gb_s={speed}", "--json", file)
        shown_by(capsys, "--policy", "7b", "--simulator", "7b", "--gpus", 8, *given)
    slow, fast = (json.loads(file.read_text())["pairs"][0]["cells"][0]["seconds"] for file in files)
    assert fast["publish"] < slow["publish"] / 5
    numbers = json.loads(files[0].read_text())["numbers"]
    assert (numbers["put_gb_s"]["basis"], numbers["call_ms"]["basis"]) == ("given", "measured")


def test_other_gpus_have_links_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    links = ("--assume", "nvlink_gb_s=300", "--assume", "network_gb_s=200")
    shown = shown_by(capsys, "--policy", "3b", "--simulator", "3b", "--gpus", 8, "--hardware", "a100", *links)
    assert "synchronous, a100" in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((*SCALE, "--gpus", "0"), "--gpus must be a whole number of at least 1; got 0"),
        ((*SCALE, "--assume", "speed=1"), "--assume takes NAME=VALUE; got 'speed=1'. Names: action_share"),
        ((*SCALE, "--assume", "put_gb_s=fast"), "--assume put_gb_s must be a number; got 'fast'"),
        ((*SCALE, "--assume", "gpus_per_node=2.5"), "--assume gpus_per_node must be a whole number; got '2.5'"),
        ((*SCALE, "--assume", "hop_us=-1"), "hop_us must be a finite number above 0; got -1.0"),
        ((*SCALE, "--hardware", "cpu"), "--hardware cpu: many GPUs are planned for, and that is none"),
        ((*SCALE, "--learners", "4"), "A split needs --learners, --samplers and --simulators; --samplers is missing"),
        (
            (*SCALE, "--learners", "1", "--samplers", "1", "--simulators", "0"),
            "--simulators 0 with samplers: a simulator shares a GPU with a learner that plays alone",
        ),
        (
            (*SCALE, "--learners", "1", "--samplers", "0", "--simulators", "1", "--asynchronous"),
            "--asynchronous needs samplers: who learns can't play at the same time",
        ),
        ((*SCALE, "--hardware", "a100", "--assume", "nvlink_gb_s=300"), "are an H100's. Give its own by --assume"),
        ((*SCALE, "--assume", "search_latency_s=5"), "--assume search_latency_s would change nothing"),
        ((*SCALE, "--assume", "sampler=transformers"), "would change nothing: give --sampler"),
        (
            (*SCALE, "--learners", "4", "--samplers", "2", "--simulators", "1", "--gpus", "8"),
            "A split of your own has 7 GPUs: leave --gpus out",
        ),
        (("plan", "--max-turns", "3", "scale"), "plan … scale: --max-turns comes before scale"),
    ],
)
def test_what_makes_no_sense_is_refused(
    flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(flags)) == 2
    assert message in capsys.readouterr().err
