from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from agents.config import load_config
from agents.plan.fitting import changes_that_fit
from agents.plan.hardware import GPUS, find_hardware, machine_memory_gb
from agents.plan.memory import plan_memory
from agents.plan.reading import read_assumed, read_settings
from agents.plan.shapes import SHAPES
from zs_env.errors import ConfigError

PAPER = ("plan", "--preset", "zerosearch-qwen2.5-3b-grpo", "--hardware", "h100")


def planned(capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    assert main([str(flag) for flag in flags]) == 0
    return capsys.readouterr().out


def record_of(tmp_path: Path, *flags: object) -> dict[str, Any]:
    file = tmp_path / "plan.json"
    assert main([*(str(flag) for flag in flags), "--json", str(file)]) == 0
    record: dict[str, Any] = json.loads(file.read_text())
    return record


def test_the_papers_run_is_planned_without_hub_or_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shown = planned(capsys, *PAPER)
    assert shown.startswith("These are estimates")
    assert "3,085.9 million parameters" in shown
    assert "1 × h100: 989 TFLOP/s" in shown
    assert "NVIDIA H100 SXM data sheet" in shown
    record = record_of(tmp_path, *PAPER)
    assert record["schema"] == "zerosearch.plan/1"
    items = {item["name"]: item["num_bytes"] for item in record["memory"]["items"]}
    assert items["weights"] == items["reference model"] == 2 * 3_085_938_688
    assert items["float32 copy of the weights"] == items["gradients"] == 4 * 3_085_938_688
    assert items["optimizer state (adamw)"] == 8 * 3_085_938_688
    # Every assumption is shown, with its value.
    for name, value in (record["assumptions"] | record["run"]).items():
        assert name in shown
        assert isinstance(value, (int, float, str))
    assert "runs" not in [path.name for path in tmp_path.iterdir()]


def test_what_is_assumed_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--assume", "mfu=0.2", "--assume", "dtype=float32", "--assume", "gradient_checkpointing=true")
    record = record_of(tmp_path, *PAPER, *flags, "--assume", "peak_tflops=500", "--gpu-memory-gb", 141)
    assert record["given"] == ["dtype", "gradient_checkpointing", "mfu"]
    assert (record["assumptions"]["mfu"], record["run"]["dtype"]) == (0.2, "float32")
    assert (record["hardware"]["peak_tflops"], record["hardware"]["memory_gb"]) == (500, 141)
    assert record["memory"]["fits"]
    shown = capsys.readouterr().out
    assert "NVIDIA H100 SXM data sheet; given: peak_tflops, memory_gb" in shown
    assert "It fits" in shown
    assert "given" in next(line for line in shown.splitlines() if line.strip().startswith("mfu"))


def test_flags_of_train_change_the_plan(tmp_path: Path) -> None:
    record = record_of(tmp_path, *PAPER, "--kl-coef", 0, "--group-size", 10, "--run-name", "mine")
    assert record["run"]["group_size"] == 10
    assert "reference model" not in {item["name"] for item in record["memory"]["items"]}
    ppo = record_of(tmp_path, "plan", "--preset", "zerosearch-qwen2.5-3b-ppo", "--hardware", "h100")
    assert ppo["seconds"]["critic"] > 0
    assert "critic and its optimizer" in {item["name"] for item in ppo["memory"]["items"]}


def test_a_simulator_and_more_gpus_are_counted(tmp_path: Path) -> None:
    alone = record_of(tmp_path, *PAPER)
    record = record_of(tmp_path, *PAPER, "--simulator-shape", "qwen2.5-14b", "--num-gpus", 4)
    items = {item["name"]: item["num_bytes"] for item in record["memory"]["items"]}
    # 2 bytes a weight, and 64 × 1,024 tokens of 2 · 48 layers · 8 heads · 128 · 2 bytes.
    cache = 64 * 1024 * 2 * 48 * 8 * 128 * 2
    assert items["simulator on the same device"] == 2 * SHAPES["qwen2.5-14b"].num_parameters + cache
    assert items["weights"] == 3_085_938_688 / 2  # a quarter
    assert record["seconds"]["update"] < alone["seconds"]["update"] / 3


def test_this_machine_is_measured_for_the_quickstart(tmp_path: Path) -> None:
    record = record_of(tmp_path, "plan", "--preset", "quickstart", "--hardware", "cpu")
    assert record["hardware"]["memory_gb"] == pytest.approx(machine_memory_gb())
    assert 1e-3 < record["hardware"]["peak_tflops"] < 1e3
    assert 0.1 < record["hardware"]["bandwidth_gb_s"] < 1e4
    assert record["memory"]["fits"]
    # The tiny policy's own weights: 176,512 of them in float32.
    weights = next(item["num_bytes"] for item in record["memory"]["items"] if item["name"] == "weights")
    assert weights == 4 * record["model"]["num_parameters"] < 1e6


def test_a_shape_stands_in_for_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    shown = planned(capsys, "plan", "--shape", "smollm2-360m", "--hardware", "rtx4090", "--algorithm", "reinforce")
    assert "smollm2-360m" in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("plan",), "No model: give --model"),
        (("plan", "--shape", "gpt-9", "--hardware", "h100"), "Give --shape with a model of its size"),
        ((*PAPER, "--hardware", "h900"), "Unknown hardware 'h900'. Known: cpu, h100"),
        ((*PAPER, "--assume", "speed=3"), "--assume takes NAME=VALUE; got 'speed=3'. Names: action_share"),
        ((*PAPER, "--assume", "mfu"), "--assume takes NAME=VALUE; got 'mfu'"),
        ((*PAPER, "--assume", "mfu=fast"), "--assume mfu must be a number; got 'fast'"),
        ((*PAPER, "--assume", "lora_rank=1.5"), "--assume lora_rank must be a whole number; got '1.5'"),
        ((*PAPER, "--assume", "packing=1"), "packing must be one of ('auto', 'padded', 'packed', 'shared'); got '1'"),
        ((*PAPER, "--assume", "mfu=1.5"), "mfu is a share of a whole, so at most 1; got 1.5"),
        ((*PAPER, "--assume", "padding=0.5"), "padding is a multiple of what is least, so at least 1; got 0.5"),
        ((*PAPER, "--assume", "mfu=nan"), "mfu must be a finite number above 0; got nan"),
        ((*PAPER, "--assume", "keep_cache=1"), "--assume keep_cache must be true or false; got '1'"),
        ((*PAPER, "--dtype", "float16"), "dtype must be one of ('float32', 'bfloat16'); got 'float16'"),
        ((*PAPER, "--assume", "optimizer=sgd"), "optimizer must be one of ('adamw', 'adafactor'); got 'sgd'"),
        ((*PAPER, "--assume", "vllm_share=2"), "vllm_share is a share of a whole, so above 0 and at most 1; got 2.0"),
        ((*PAPER, "--assume", "group_size=0"), "group_size must be a whole number of at least 1"),
        ((*PAPER, "--gpu-memory-gb", "0"), "memory_gb must be a finite number above 0; got 0.0"),
        ((*PAPER, "--num-gpus", "0"), "num_gpus must be a whole number of at least 1"),
        (("plan", "--preset", "quickstart", "--hardware", "cpu", "--num-gpus", "2"), "--num-gpus 2 needs --hardware"),
        ((*PAPER, "--resume"), "--resume: a plan is of a whole run"),
        ((*PAPER, "--lam", "0.9"), "--lam is a flag of ppo"),
    ],
)
def test_what_is_wrong_is_named(
    flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert main(list(flags)) == 2
    assert message in capsys.readouterr().err


def paper_plan(name: str, memory_gb: float, **changed: Any) -> tuple[Any, ...]:
    from agents.config import load_preset

    config = load_config(load_preset("zerosearch-qwen2.5-3b-grpo"))
    reading = read_settings(config, is_gpu=True, assumed=changed)
    return SHAPES[name], reading.run, find_hardware("h100", memory_gb=memory_gb), reading.assumptions


def test_the_papers_preset_fits_an_h100_and_with_larger_micro_batches_does_not() -> None:
    shape, run, hardware, assumptions = paper_plan("qwen2.5-3b", 80)
    assert plan_memory(shape, run, hardware, assumptions).fits
    assert (run.dtype, run.gradient_checkpointing, run.old_logprobs) == ("bfloat16", True, "recomputed")
    doubled = replace(run, micro_batch_tokens=2 * run.micro_batch_tokens)
    assert not plan_memory(shape, doubled, hardware, assumptions).fits


def test_changes_that_do_alone_are_told_and_do() -> None:
    shape, run, hardware, assumptions = paper_plan("qwen2.5-3b", 80, gradient_checkpointing=False)
    alone, together = changes_that_fit(shape, run, hardware, assumptions)
    assert not together
    texts = [change.text for change in alone]
    assert "[learner] gradient_checkpointing = true" in texts
    for change in alone:
        plan = plan_memory(shape, change.run, change.hardware, assumptions)
        assert plan.fits
        assert plan.most == change.most


def test_vllm_may_be_given_a_smaller_share() -> None:
    planned = paper_plan("qwen2.5-3b", 80, sampler="vllm", masters="none")
    alone, _ = changes_that_fit(*planned)
    shares = [change.text for change in alone if "vllm" in change.text]
    assert shares == ["[sampling] vllm_options = {gpu_memory_utilization = 0.2}"]


def test_where_none_does_alone_some_do_together_or_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    alone, together = changes_that_fit(*paper_plan("qwen2.5-3b", 24))
    assert not alone
    assert len(together) > 1
    assert [change.fits for change in together] == [False] * (len(together) - 1) + [True]
    assert {change.hardware.num_devices for change in together} == {1}  # settings cost nothing
    shown = planned(capsys, *PAPER, "--gpu-memory-gb", 24)
    assert "No single change makes it fit; these do together:" in shown
    assert changes_that_fit(*paper_plan("qwen2.5-14b", 1)) == ([], [])
    assert "No known change makes it fit" in planned(capsys, *PAPER, "--gpu-memory-gb", 1)


def test_more_gpus_are_named_by_the_settings_that_take_them(capsys: pytest.CaptureFixture[str]) -> None:
    shown = planned(capsys, "plan", "--preset", "zerosearch-qwen2.5-3b-ppo", "--hardware", "h100")
    assert '[scale] num_learners = 2, with executor = "ray", on 2 GPUs: ' in shown


def test_the_model_in_a_wheel_is_planned_without_it(tmp_path: Path) -> None:
    record = record_of(tmp_path, "plan", "--preset", "smollm2", "--hardware", "h100")
    assert record["model"]["num_parameters"] == 134_515_008
    assert record["run"]["dtype"] == "bfloat16"


def test_float32_has_another_peak_than_bfloat16() -> None:
    assert find_hardware("a100").peak_tflops == GPUS["a100"].float32_tflops == 19.5
    assert find_hardware("a100", dtype="bfloat16").peak_tflops == 312


def test_assumed_values_have_their_fields_types() -> None:
    assert read_assumed(["lora_rank=16", "mfu=1", "keep_cache=TRUE", "sampler=vllm"]) == {
        "lora_rank": 16,
        "mfu": 1.0,
        "keep_cache": True,
        "sampler": "vllm",
    }
    with pytest.raises(ConfigError, match="sampler must be one of"):
        read_settings(load_config({"model": {"source": "m"}}), is_gpu=True, assumed={"sampler": "magic"})


def test_the_help_needs_no_torch() -> None:
    code = "import sys, agents.cli; agents.cli.parser(); print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
