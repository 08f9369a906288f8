"""A tiny model is really trained by TRL: what it learns, what is kept, and that it goes on as if nothing had been."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.zs_env.tuning import tiny
from zs_env.errors import ConfigError, TuningError
from zs_env.tuning import training
from zs_env.tuning.base_models import load_model
from zs_env.tuning.held_out import held_out_losses
from zs_env.tuning.ordering import learning_order
from zs_env.tuning.pace import Pace
from zs_env.tuning.tokenising import encode_all
from zs_env.tuning.trainer import Plan, StopRequest, make_trainer
from zs_env.tuning.training import Stopped, train
from zs_env.tuning.training_folder import TrainingFolder
from zs_env.tuning.training_settings import TrainingSettings

ROOT = Path(__file__).parents[3]
SETTINGS = TrainingSettings(
    epochs=2.0,
    batch_size=4,
    micro_batch_size=2,
    learning_rate=5e-3,
    dtype="float32",
    device="cpu",
    save_dtype="float32",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.write_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_examples(tmp_path_factory.mktemp("data") / "sft")


@pytest.fixture(scope="module")
def tuned(model: str, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing stops."""
    out = tmp_path_factory.mktemp("tuned") / "model"
    train(data, model, out, SETTINGS)
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_equal_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def trainer_of(model: str, data: Path, folder: Path, settings: TrainingSettings) -> Any:
    loaded, tokenizer = load_model(model)
    examples = encode_all(tokenizer, training.ExamplesFolder(data).train(), max_tokens=1000).examples
    order = learning_order(list(map(len, examples)), num_epochs=1, micro_batch_size=settings.micro_batch_size, seed=0)
    plan = Plan(
        settings=settings,
        examples=examples,
        order=order,
        learning_rate=1e-3,
        device="cpu",
        autocast=False,
        pace=Pace(total_steps=6, budget_s=None, warmup=0.0, schedule="linear"),
        folder=TrainingFolder(folder / "out", {}),
        stop=StopRequest(),
        say=lambda text: None,
    )
    return make_trainer(loaded, tokenizer, plan), plan


def test_it_learns_and_says_what(tuned: Path) -> None:
    record = json.loads((tuned / "simulator.json").read_text())
    figures = record["training"]["figures"]
    assert record["schema"] == "zerosearch.tuned_simulator/1"
    assert (record["base_model"], record["persona"], record["document_words"], record["topk"]) == (
        "tiny",
        "Wikipedia",
        20,
        1,
    )
    assert set(record["prompts"]) == {"sft_useful", "sft_noisy"}
    assert figures["steps"] == 12
    for kind in ("all", "useful", "noisy"):
        assert figures["held_out_loss_after"][kind] < figures["held_out_loss_before"][kind] - 0.5
    rows = [json.loads(line) for line in (tuned / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert str(tuned) not in (tuned / "simulator.json").read_text()
    assert not tuned.with_name("model.partial").exists()


def test_what_is_saved_is_a_plain_folder_with_a_chat_template(tuned: Path, data: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(tuned)
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    assert tokenizer.chat_template == tiny.TEMPLATE
    assert "quantization_config" not in json.loads((tuned / "config.json").read_text())
    held_out = encode_all(tokenizer, training.ExamplesFolder(data).held_out(), max_tokens=1000).examples
    losses = held_out_losses(loaded, held_out, pad=0, batch_size=2)
    told = json.loads((tuned / "simulator.json").read_text())["training"]["figures"]["held_out_loss_after"]
    assert losses == pytest.approx(told, abs=1e-5)


def test_batches_hold_prompts_unlearned_and_completions_learned(model: str, data: Path, tmp_path: Path) -> None:
    trainer, plan = trainer_of(model, data, tmp_path, SETTINGS)
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == 12
    rows = [
        (ids[: int(mask.sum())].tolist(), labels[: int(mask.sum())].tolist(), labels[int(mask.sum()) :].tolist())
        for batch in batches
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True)
    ]
    assert len(rows) == len(plan.order)
    for (ids, labels, padding), place in zip(rows, plan.order, strict=True):
        expected = plan.examples[place]
        assert ids == expected.input_ids
        assert labels == [-100] * len(expected.prompt) + list(expected.completion)
        assert set(padding) <= {-100}


def test_the_loss_is_of_completions_alone(model: str, data: Path, tmp_path: Path) -> None:
    trainer, plan = trainer_of(model, data, tmp_path, SETTINGS)
    batch = next(iter(trainer.get_train_dataloader()))
    loss = float(trainer.compute_loss(trainer.model, dict(batch)).detach())
    rows = [plan.examples[place] for place in plan.order[:2]]
    plain, _ = load_model(model)
    total = 0.0
    for row in rows:  # one by one, without padding
        logits = plain(input_ids=torch.tensor([row.input_ids])).logits[0].log_softmax(-1)
        total -= sum(float(logits[len(row.prompt) + at - 1, token]) for at, token in enumerate(row.completion))
    assert loss == pytest.approx(total / sum(len(row.completion) for row in rows), rel=1e-4)


def test_the_same_again_says_that_it_is_done(tuned: Path, model: str, data: Path) -> None:
    said: list[str] = []
    before = (tuned / "model.safetensors").stat().st_mtime_ns
    record = train(data, model, tuned, SETTINGS, say=said.append)
    assert "already" in said[0]
    assert record == json.loads((tuned / "simulator.json").read_text())
    assert (tuned / "model.safetensors").stat().st_mtime_ns == before


def test_over_another_simulator_it_is_refused(tuned: Path, model: str, data: Path) -> None:
    with pytest.raises(ConfigError, match=r"settings\.seed: 0 there, 1 here"):
        train(data, model, tuned, replace(SETTINGS, seed=1))


def test_a_stop_saves_and_the_same_command_ends_with_the_same_weights(
    tuned: Path, model: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    said: list[str] = []

    def stop(text: str) -> None:
        said.append(text)
        if text.startswith("step 1 "):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match=r"Stopped after step 2.*The same command goes on") as stopped:
        train(data, model, out, SETTINGS, say=stop)
    assert stopped.value.signal == signal.SIGINT
    assert not out.exists()
    with pytest.raises(ConfigError, match=r"learning_rate: 0\.005 there, 0\.001 here"):
        train(data, model, out, replace(SETTINGS, learning_rate=1e-3))
    train(data, model, out, SETTINGS, say=said.append)
    assert any("Going on from step 2" in text for text in said)
    assert_equal_weights(out, tuned)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))


def test_a_checkpoint_that_was_cut_off_is_passed_over(tuned: Path, model: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"

    def stop(text: str) -> None:
        if text.startswith("step 1 "):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        train(data, model, out, SETTINGS, say=stop)
    torn = tmp_path / "model.partial" / "checkpoints" / "checkpoint-9"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    train(data, model, out, SETTINGS)
    assert_equal_weights(out, tuned)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from tests.zs_env.tuning.test_training import SETTINGS
from zs_env.tuning.training import train
from zs_env.tuning.training_folder import TrainingFolder

mark = TrainingFolder.mark

def mark_and_die(self, step, facts):
    if step == 4:
        os.kill(os.getpid(), signal.SIGKILL)  # its checkpoint is written, and not marked yet
    mark(self, step, facts)

TrainingFolder.mark = mark_and_die
train(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), replace(SETTINGS, save_minutes=1e-9))
"""


@pytest.mark.slow
def test_a_kill_costs_what_is_behind_the_last_whole_checkpoint_alone(
    tuned: Path, model: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    command = [sys.executable, "-c", KILLED, str(data), model, str(out)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert not out.exists()
    said: list[str] = []
    train(data, model, out, SETTINGS, say=said.append)
    assert any("Going on from step 3" in text for text in said)
    assert_equal_weights(out, tuned)


def test_a_kill_behind_the_last_step_costs_no_training(
    tuned: Path, model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_folder", full)
        with pytest.raises(TuningError, match="No space left"):
            train(data, model, out, SETTINGS)
    said: list[str] = []
    train(data, model, out, SETTINGS, say=said.append)
    assert any("Going on from step 12" in text for text in said)
    assert not any(text.startswith("step ") for text in said)
    assert_equal_weights(out, tuned)


def test_a_training_that_diverges_stops_and_keeps_its_last_checkpoint(model: str, data: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, warmup=0.5, save_minutes=1e-9, max_grad_norm=1e9)
    with pytest.raises(TuningError, match=r"diverged.*--learning-rate; its peak was 1e\+30"):
        train(data, model, tmp_path / "model", settings)
    assert not (tmp_path / "model").exists()
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "model.partial" / "metrics.jsonl").read_text().splitlines()
    ]
    kept = sorted(path.parent.name for path in (tmp_path / "model.partial" / "checkpoints").glob("*/whole.json"))
    # The last step's loss was of the weights that the step before it saved, so what that one saved is proven, no more.
    assert kept == ([f"checkpoint-{steps[-1] - 1}"] if steps[-1] > 1 else [])


def test_time_that_is_up_ends_a_training_with_a_whole_model(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # a second a step
    monkeypatch.setattr(training, "Pace", partial(Pace, now=lambda: float(next(clock))))
    monkeypatch.setattr(training, "_budget", lambda *_: 8.0)
    record = train(data, model, tmp_path / "model", replace(SETTINGS, epochs=50.0, minutes=1.0, warmup=0.0))
    assert record["training"]["figures"]["steps"] == 8
    rows = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    rates = [row["learning_rate"] / 5e-3 for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(2 / 8)  # set when the step before the last ended, by the clock of the one before


def test_no_time_to_learn_is_refused(model: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leaves no time to learn"):
        train(data, model, tmp_path / "model", replace(SETTINGS, minutes=1e-6))


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_lora_is_merged_in(shape: str, data: Path, tmp_path: Path) -> None:
    base = tiny.write_model(tmp_path / "base", shape)
    record = train(data, str(base), tmp_path / "model", replace(SETTINGS, lora_rank=4, learning_rate=2e-2))
    figures = record["training"]["figures"]
    assert figures["held_out_loss_after"]["all"] < figures["held_out_loss_before"]["all"] - 0.1
    assert weights(tmp_path / "model").keys() == weights(base).keys()
    assert not (tmp_path / "model" / "adapter_config.json").exists()


def test_adapters_alone(model: str, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    train(data, model, tmp_path / "model", replace(SETTINGS, lora_rank=4, adapters_only=True, epochs=1.0))
    assert (tmp_path / "model" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "model" / "model.safetensors").exists()
    told = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == "tiny"


def test_bfloat16_multiplies_over_float32_weights(model: str, data: Path, tmp_path: Path) -> None:
    record = train(data, model, tmp_path / "model", replace(SETTINGS, dtype="bfloat16", epochs=1.0))
    figures = record["training"]["figures"]
    assert figures["dtype"] == "bfloat16"
    assert figures["held_out_loss_after"]["all"] < figures["held_out_loss_before"]["all"] - 0.1
    saved = weights(tmp_path / "model")["model.embed_tokens.weight"]
    assert not torch.equal(saved, saved.bfloat16().float())  # they bear more than bfloat16 does


def test_wrong_inputs_are_told(model: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        train(tmp_path / "nowhere", model, tmp_path / "model", SETTINGS)
    with pytest.raises(ConfigError, match="can't be loaded"):
        train(data, str(tmp_path / "nobody"), tmp_path / "model", SETTINGS)
    with pytest.raises(ConfigError, match="no examples to learn: 24 were longer than --max-tokens 16"):
        train(data, model, tmp_path / "other", replace(SETTINGS, max_tokens=16))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no tuned simulator"):
        train(data, model, tmp_path / "full", SETTINGS)
    empty = tiny.write_examples(tmp_path / "empty", num=0)
    with pytest.raises(ConfigError, match="no examples to learn"):
        train(empty, model, tmp_path / "third", SETTINGS)
