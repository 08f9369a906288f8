from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from agents.codec import TextCodec
from agents.plan.shapes import shape_of
from agents.policy import load_policy
from agents.testing import byte_tokenizer, tiny_llama
from benchmarks.__main__ import main
from benchmarks.training import arms, models, ours, plain, trl_side
from benchmarks.training.arms import ARMS, Arm, arm_named, default_arms
from benchmarks.training.command import SCHEMA
from benchmarks.training.models import write_model
from benchmarks.training.running import ArmRun, _alone
from benchmarks.training.steps import CountedTurns, Job, Step
from benchmarks.training.tables import ratios_of, render
from benchmarks.training.workload import SCENARIOS, Lengths, Workload, pad_text
from zs_env.errors import ConfigError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    write_model("tiny", folder)
    return folder


@pytest.fixture(params=sorted(SCENARIOS))
def job(request: pytest.FixtureRequest, model: Path) -> Job:
    return Job(model=model, scenario=SCENARIOS[request.param].of(tiny=True))


def steps_of(side: ModuleType, job: Job) -> list[Step]:
    turns = CountedTurns(2)
    side.take_steps(job, {}, turns)
    return turns.steps


@pytest.mark.parametrize("side", [ours, trl_side, plain], ids=["ours", "trl", "plain"])
def test_every_side_works_on_exactly_the_workloads_tokens(side: ModuleType, job: Job) -> None:
    if side is trl_side:
        pytest.importorskip("trl")
    first, second = steps_of(side, job)
    assert first.lengths == second.lengths == job.scenario.lengths
    for step in (first, second):
        assert step.step_s == pytest.approx(step.rollout_s + step.update_s, rel=0.05)
        assert (step.rollout_s > 0) == (side is not plain)


def test_lengths_are_added_up_by_hand() -> None:
    # 4 × 8 episodes of 200 + 4 × 40 + 3 × 60 = 540 tokens, 160 of them the policy's.
    assert SCENARIOS["multi-turn"].lengths == Lengths(
        episodes=32, tokens=17_280, policy_tokens=5_120, trained_tokens=5_120
    )
    # 32 episodes of 131 + 64 tokens.
    assert SCENARIOS["single-turn"].lengths == Lengths(
        episodes=32, tokens=6_240, policy_tokens=2_048, trained_tokens=2_048
    )


def test_prompts_and_documents_have_exactly_their_lengths_and_differ() -> None:
    scenario = SCENARIOS["multi-turn"]
    workload = Workload(scenario, TextCodec(byte_tokenizer()))
    assert [len(prompt) for prompt in workload.prompts] == [scenario.prompt_tokens] * scenario.groups
    assert len(set(workload.questions)) == scenario.groups
    blocks = [workload.environment_ids(group, turn) for group in range(2) for turn in (1, 2)]
    assert [len(block) for block in blocks] == [scenario.environment_tokens] * 4
    assert len({tuple(block) for block in blocks}) == 4


def test_every_group_has_both_rewards_so_that_all_of_it_is_trained_on() -> None:
    workload = Workload(SCENARIOS["multi-turn"].of(groups=50), TextCodec(byte_tokenizer()))
    groups = [workload.rewards[start : start + 8] for start in range(0, 400, 8)]
    assert all(set(group) == {0.0, 1.0} for group in groups)


def test_a_text_that_is_too_long_already_is_an_error() -> None:
    import random

    with pytest.raises(ConfigError, match="can't be padded to 3"):
        pad_text("four", len, 3, random.Random(0))


def test_a_side_that_did_other_work_is_not_compared() -> None:
    wanted = SCENARIOS["single-turn"].lengths
    replace(wanted, tokens=wanted.tokens + 100).check_against(wanted, side="TRL")  # 1.6 %
    with pytest.raises(ConfigError, match=r"TRL worked on 1900 policy_tokens where the workload has 2048"):
        replace(wanted, policy_tokens=1_900).check_against(wanted, side="TRL")


def test_a_ratio_spans_what_both_sides_spread_allows() -> None:
    lengths = SCENARIOS["single-turn"].lengths

    def step(seconds: float, update_peak_mb: float) -> Step:
        peaks = {"rollout_peak_mb": 2_000.0, "update_peak_mb": update_peak_mb}
        return Step(rollout_s=seconds / 2, update_s=seconds / 2, step_s=seconds, lengths=lengths, **peaks)

    our_run = ArmRun(arm_named("ours-fp32"), steps=[step(1.0, 900), step(2.0, 1_000), step(4.0, 800)])
    their_run = ArmRun(
        arm_named("trl-fp32"), steps=[step(6.0, 1), step(8.0, 1), step(5.0, 1)], warm_up=step(9.0, 3_000)
    )
    assert (our_run.peak_mb, our_run.update_peak_mb) == (2_000, 1_000)
    assert (their_run.peak_mb, their_run.update_peak_mb) == (3_000, 3_000)
    ratios = {ratio.phase: ratio for ratio in ratios_of([our_run, their_run])}
    # Medians 6 and 2; at the least 5 over 4, at the most 8 over 1.
    assert [ratios["step"].median, ratios["step"].least, ratios["step"].most] == [3.0, 1.25, 8.0]
    assert ratios["peak memory of the update"].median == 3.0
    assert "| trl-fp32 / ours-fp32 | step | 3.00 | 1.25 to 8.00 |" in render(
        SCENARIOS["single-turn"], [our_run, their_run], list(ratios.values())
    )


def test_every_arms_sections_are_known_or_the_arm_says_what_is_missing() -> None:
    assert arm_named("ours-fp32").missing is None
    unknown = Arm(name="new", side="ours", title="new", settings={"learner": {"no_such_option": True}})
    assert "no_such_option" in str(unknown.missing)
    unknown = Arm(name="new", side="ours", title="new", settings={"sampler": {"no_such_cache": True}})
    assert "no_such_cache" in str(unknown.missing)
    known = Arm(name="old", side="ours", title="old", settings={"sampler": {"compact_below": 0.5}})
    assert known.missing is None
    for scenario in SCENARIOS:
        assert {arm.side for arm in default_arms(scenario)} == {"ours", "trl", "plain"}
        assert len({arm.name for arm in ARMS}) == len(ARMS)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm.side == "ours"], ids=lambda arm: arm.name)
def test_every_arm_of_ours_that_can_run_here_does_all_of_the_work(arm: Arm, model: Path) -> None:
    if arm.missing:
        pytest.skip(arm.missing)
    job, turns = Job(model=model, scenario=SCENARIOS["multi-turn"].of(tiny=True)), CountedTurns(1)
    ours.take_steps(job, arm.settings, turns)
    assert [step.lengths for step in turns.steps] == [job.scenario.lengths]


def test_on_a_gpu_some_settings_are_others_and_the_rest_stays() -> None:
    arm = Arm(
        name="a", side="ours", title="a", settings={"learner": {"x": 1, "y": 2}, "rows": 2},
        on_gpu={"learner": {"x": 3}, "rows": 9},
    )  # fmt: skip
    assert arm.settings_on("cpu") == {"learner": {"x": 1, "y": 2}, "rows": 2}
    assert arm.settings_on("cuda") == {"learner": {"x": 3, "y": 2}, "rows": 9}
    for arm in ARMS:
        assert arm.settings_on("cpu") == arm.settings


def test_models_of_named_shapes_are_in_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.SHAPES, "small", shape_of(tiny_llama().config, name="small"))
    write_model("small", tmp_path)
    assert load_policy(tmp_path, dtype="bfloat16").model.config.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match=r"must be one of smollm2, random, tiny, .*; got 'large'"):
        write_model("large", tmp_path)


def test_a_gpu_that_is_not_there_is_told_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["training", "--tiny", "--device", "cuda", "--arms", "ours-bf16"]) == 2
    assert "device 'cuda': torch sees no GPU" in capsys.readouterr().err


@pytest.mark.slow
def test_an_arm_alone_takes_the_steps_that_it_takes_among_others(model: Path) -> None:
    told: list[str] = []
    job = Job(model=model, scenario=SCENARIOS["multi-turn"].of(tiny=True))
    run = _alone(arm_named("ours-unrecorded"), job, repeats=2, threads=1, say=told.append)
    assert [step.lengths for step in run.steps] == [job.scenario.lengths] * 2
    assert run.warm_up is not None
    assert "ours-unrecorded, step 2 of 2" in told[-1]


def test_an_arm_that_cannot_run_is_skipped_unless_it_was_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = Arm(name="new", side="ours", title="new", scenarios=("multi-turn",), settings={"learner": {"newer": 1}})
    monkeypatch.setattr(arms, "ARMS", (*ARMS, new))
    assert main(["training", "--tiny", "--scenarios", "multi-turn", "--arms", "new"]) == 2
    assert "The arm 'new' needs what this version doesn't have" in capsys.readouterr().err


def test_without_trl_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    assert main(["training", "--tiny"]) == 2
    assert 'pip install "zerosearch-env[trl]"' in capsys.readouterr().err


def test_an_unknown_arm_is_an_error_that_names_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["training", "--tiny", "--arms", "tlr"]) == 2
    assert "Unknown arm 'tlr'. Available: ours-bf16," in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_prints_tables_and_writes_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl")
    file = tmp_path / "record.json"
    command = [
        "training",
        "--tiny",
        "--threads",
        "1",
        "--repeats",
        "2",
        "--scenarios",
        "multi-turn",
        "--json",
        str(file),
    ]
    assert main([*command, "--arms", "ours-fp32", "trl-bf16"]) == 0
    assert "| trl-bf16 / ours-fp32 | step |" in capsys.readouterr().out
    text = file.read_text()
    assert str(tmp_path) not in text
    record = json.loads(text)
    assert record["schema"] == SCHEMA
    assert record["settings"] == {"model": "tiny", "repeats": 2, "warm_up_steps": 1, "threads": 1}
    assert {"torch", "transformers", "trl", "python", "cpus"} <= set(record["machine"])
    [scenario] = record["scenarios"]
    assert [arm["name"] for arm in scenario["arms"]] == ["ours-fp32", "trl-bf16"]
    for arm in scenario["arms"]:
        assert [step["lengths"] for step in arm["steps"]] == [scenario["scenario"]["lengths"]] * 2
        assert arm["peak_mb"] >= arm["update_peak_mb"] > 0
        assert arm["peak_mb"] >= arm["loaded_mb"] > 0
        assert arm["tokens_per_s"] > arm["policy_tokens_per_s"] > 0


@pytest.mark.slow
def test_an_arm_that_breaks_off_is_an_error_with_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    # Seven groups of four are 28 episodes, which micro-batches of eight don't divide.
    assert main(["training", "--tiny", "--scenarios", "single-turn", "--arms", "trl-fp32", "--groups", "7"]) == 2
    assert "choose another number of --groups" in capsys.readouterr().err
