"""Tune a simulator: from examples to a model that writes documents, useful or noisy as it is asked.

    load model and examples → held-out loss → learn → round to what is saved → held-out loss → save

The prompts are those that `simulate_sft` sends, as token ids that a server makes of them; the loss is of completions
alone. TRL's `SFTTrainer` trains. A training that was stopped or killed goes on by the same command.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from zs_env.engines.llm.prompts import load_prompts
from zs_env.errors import ConfigError, TuningError
from zs_env.files import write_folder, write_json
from zs_env.tuning.base_models import fingerprint, load_model, model_name, require_tune
from zs_env.tuning.examples_folder import ExamplesFolder
from zs_env.tuning.hardware import can_multiply_bfloat16, check_memory, choose_device, is_memory_error
from zs_env.tuning.held_out import choose_held_out, held_out_losses
from zs_env.tuning.ordering import learning_order, padding_share
from zs_env.tuning.pace import Pace
from zs_env.tuning.simulator_file import SCHEMA
from zs_env.tuning.tokenising import EncodedSet, encode_all
from zs_env.tuning.trainer import Plan, StopRequest, is_main_process, make_trainer, num_processes, stop_on_signals
from zs_env.tuning.training_folder import SIMULATOR, TrainingFolder, differences, read_json
from zs_env.tuning.training_settings import TrainingSettings

__all__ = ["Stopped", "train"]

_DISK_BYTES_A_SECOND = 200e6
"""A disk that is none of the fast ones, to set time aside for saving."""


class Stopped(KeyboardInterrupt):
    """A person stopped the training; what was learned is kept.

    Args:
        message: How to go on.
        signal: Which signal it was.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def train(
    data: Path, model: str, out: Path, settings: TrainingSettings, *, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Tune a simulator, or go on with it, or see that it is done.

    Args:
        data: A folder with `train.jsonl`, and perhaps `held_out.jsonl` and `build.json`.
        model: See `models.load_model`.
        out: Where to; there is either nothing, or the same simulator, whole.
        settings: How.
        say: Is told how it goes.

    Returns:
        What `simulator.json` in that folder says.

    Raises:
        ConfigError: The data, the model or the settings are wrong, or another simulator lies there.
        TuningError: The loss is no number, or the memory doesn't suffice.
        Stopped: Ctrl-C or SIGTERM came; the same call goes on.
    """
    began = time.monotonic()
    require_tune(
        *(("torch", "transformers", "accelerate", "datasets", "trl") + (("peft",) if settings.lora_rank else ()))
    )
    source = ExamplesFolder(data)
    identity = {
        "settings": settings.to_json(),
        "model": {"name": model_name(model), "fingerprint": fingerprint(model)},
        "data": source.fingerprints,
    }
    done = _look_at(out, identity)
    if done is not None:
        say(f"This simulator is tuned already: {out}")
        return done
    folder = TrainingFolder(out, identity)
    try:
        with folder.lock() if is_main_process() else nullcontext():
            return _train(source, model, out, settings, folder, identity, began, say)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, TuningError) or not is_memory_error(error):
            raise
        raise TuningError(
            f"The memory doesn't suffice ({str(error).strip().splitlines()[0][:200]}). Give a smaller "
            f"--micro-batch-size than {settings.micro_batch_size} or --max-tokens than {settings.max_tokens}, "
            "--gradient-checkpointing, or --lora-rank. What was learned up to the last checkpoint is kept."
        ) from error


def _look_at(out: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """What lies where the simulator is to go: nothing (None), or the same; else refuse."""
    if not out.exists():
        return None
    record = read_json(out / SIMULATOR)
    if record is None:
        if out.is_dir() and not any(out.iterdir()):
            return None
        raise ConfigError(f"{str(out)!r} is there, and holds no tuned simulator: give another --out.")
    told = differences(record.get("training", {}).get("identity", {}), identity)
    if told:
        raise ConfigError(
            f"A simulator of other settings lies in {str(out)!r}: {'; '.join(told)}. Give another --out, or delete it."
        )
    return record


def _train(
    source: ExamplesFolder,
    name: str,
    out: Path,
    settings: TrainingSettings,
    folder: TrainingFolder,
    identity: Mapping[str, Any],
    began: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    import torch
    from transformers.utils import logging

    say = say if is_main_process() else lambda text: None
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = choose_device(settings.device)
    _check_processes(settings, device)
    autocast = settings.dtype == "bfloat16" or (settings.dtype == "auto" and can_multiply_bfloat16(device))
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    frozen = settings.lora_rank is not None and autocast  # frozen weights needn't bear small updates
    model, tokenizer = load_model(name, dtype="bfloat16" if frozen else "float32")
    num_parameters = sum(one.numel() for one in model.parameters())
    check_memory(num_parameters, settings, device, frozen=frozen)
    examples, held_out = _encode(source, tokenizer, settings, say)
    order = learning_order(
        [len(example) for example in examples.examples],
        num_epochs=settings.epochs,
        micro_batch_size=settings.micro_batch_size,
        seed=settings.seed,
        groups=[example.search or place for place, example in enumerate(examples.examples)],
    )
    looked_at = choose_held_out(held_out.examples, settings.held_out_limit)
    model.to(device)

    def losses() -> Mapping[str, float]:
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        size = settings.micro_batch_size
        return held_out_losses(model, looked_at, pad=pad, batch_size=size, autocast=autocast)

    plan = folder.plan
    if plan is None:
        start = time.monotonic()
        before = losses()
        plan = {
            "held_out_before": before,
            "budget_s": _budget(settings, began, time.monotonic() - start, num_parameters),
        }
        folder.settle(plan)
    say(f"Held-out loss before: {_shown(plan['held_out_before'])} ({len(looked_at)} examples)")
    pace = Pace(
        total_steps=-(-len(order) // settings.batch_size),
        budget_s=plan["budget_s"],
        warmup=settings.warmup,
        schedule=settings.schedule,
    )
    rate = settings.peak_rate(num_parameters)
    lengths = [len(example) for example in examples.examples]
    tuned = "All" if settings.lora_rank is None else f"LoRA of rank {settings.lora_rank} over"
    say(
        f"{tuned} {num_parameters / 1e6:,.1f} million weights, on {device}, "
        f"{'bfloat16 over float32' if autocast else 'float32'}; at most {pace.total_steps:,} steps of "
        f"{settings.batch_size} examples, learning rate {rate:g}; "
        f"{padding_share(lengths, order, settings.micro_batch_size):.1%} of tokens are padding"
    )
    with stop_on_signals(say) as stop:
        trainer = make_trainer(
            model,
            tokenizer,
            Plan(
                settings=settings,
                examples=examples.examples,
                order=order,
                learning_rate=rate,
                device=device,
                autocast=autocast,
                pace=pace,
                folder=folder,
                stop=stop,
                say=say,
            ),
        )
        _learn(trainer, folder, pace, stop, say)
        model = _finish(trainer, settings, name)
        after = losses()
    if not all(map(math.isfinite, after.values())):
        raise TuningError(
            f"The tuned model's held-out loss is no number ({_shown(after)}): the training has diverged. Begin again "
            f"with a lower learning rate than {rate:g}, once {str(folder.path)!r} is deleted."
        )
    say(f"Held-out loss after:  {_shown(after)}")
    steps = int(trainer.state.global_step)
    figures = {
        "steps": steps,
        "epochs": min(steps * settings.batch_size, len(order)) / len(examples.examples),
        "examples": len(examples.examples),
        "examples_too_long": examples.num_too_long,
        "tokens_learned_of": sum(lengths[place] for place in order[: steps * settings.batch_size]),
        "training_s": round(pace.elapsed_s, 1),
        "learning_rate": rate,
        "dtype": "bfloat16" if autocast else "float32",
        "device": device,
        "processes": num_processes(),
        "parameters": num_parameters,
        "held_out_examples": len(looked_at),
        "held_out_loss_before": dict(plan["held_out_before"]),
        "held_out_loss_after": dict(after),
    }
    record = _record(source, name, settings, identity, figures)
    if is_main_process():
        _save(out, model, tokenizer, record, folder)
        folder.delete()
    return record


def _check_processes(settings: TrainingSettings, device: str) -> None:
    import torch

    together = settings.micro_batch_size * num_processes()
    if settings.batch_size % together:
        raise ConfigError(
            f"batch_size ({settings.batch_size}) must be a multiple of micro_batch_size ({settings.micro_batch_size}) "
            f"times {num_processes()} processes."
        )
    if device == "cuda" and num_processes() == 1 and torch.cuda.device_count() > 1:
        raise ConfigError(
            f"{torch.cuda.device_count()} GPUs are visible, and one process trains on one: set CUDA_VISIBLE_DEVICES=0, "
            "or train on all of them with `accelerate launch -m zs_env tune train …`."
        )


def _encode(
    source: ExamplesFolder, tokenizer: Any, settings: TrainingSettings, say: Callable[[str], None]
) -> tuple[EncodedSet, EncodedSet]:
    examples = encode_all(tokenizer, source.train(), max_tokens=settings.max_tokens)
    held_out = encode_all(tokenizer, source.held_out(), max_tokens=settings.max_tokens)
    if not examples.examples:
        raise ConfigError(
            f"{source.name} has no examples to learn: {examples.num_too_long} were longer than --max-tokens "
            f"{settings.max_tokens}."
        )
    say(
        f"{len(examples.examples):,} examples, {examples.num_tokens:,} tokens, {examples.num_completion_tokens:,} of "
        f"them learned; {examples.num_too_long:,} left out, longer than {settings.max_tokens} tokens"
    )
    return examples, held_out


def _budget(settings: TrainingSettings, began: float, held_out_s: float, num_parameters: int) -> float | None:
    """Seconds of training that are left when all else is counted: what went by, and what comes behind it."""
    if settings.minutes is None:
        return None
    saved = num_parameters * (16 if settings.lora_rank is None else 4)  # the last checkpoint, and the model
    left = 60 * settings.minutes - (time.monotonic() - began) - held_out_s - saved / _DISK_BYTES_A_SECOND
    if left <= 0:
        raise ConfigError(
            f"minutes={settings.minutes:g} leaves no time to learn: loading, the held-out losses and saving take "
            f"{60 * settings.minutes - left:.0f} s. Give more, or a smaller --held-out-limit than "
            f"{settings.held_out_limit}."
        )
    return left


def _learn(trainer: Any, folder: TrainingFolder, pace: Pace, stop: StopRequest, say: Callable[[str], None]) -> None:
    last = folder.last_checkpoint()
    if last is not None:
        path, mark = last
        pace.elapsed_s = float(mark["elapsed_s"])
        folder.cut_metrics(int(mark["step"]))
        say(f"Going on from step {mark['step']:,}, after {pace.elapsed_s / 60:,.1f} min of training")
        if mark["done"]:
            trainer._load_from_checkpoint(str(path))
            trainer.state.global_step = int(mark["step"])
            return
    else:
        folder.cut_metrics(0)
    trainer.train(resume_from_checkpoint=None if last is None else str(last[0]))
    last = folder.last_checkpoint()
    if last is None or not last[1]["done"]:
        raise Stopped(
            f"Stopped after step {trainer.state.global_step:,}, which is saved. The same command goes on.",
            stop.signal or 2,
        )


def _finish(trainer: Any, settings: TrainingSettings, name: str) -> Any:
    """The tuned model, adapters merged in, rounded to what is saved."""
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    model.__dict__.pop("forward", None)  # TRL's, which looks at labels
    if settings.lora_rank is not None and not settings.adapters_only:
        model = model.float().merge_and_unload()
        model.__dict__.pop("forward", None)
    elif settings.adapters_only:
        for adapters in model.peft_config.values():
            adapters.base_model_name_or_path = model_name(name)  # a path would say where it lay here
    return model.to(getattr(torch, settings.save_dtype)).float()


def _record(
    source: ExamplesFolder,
    name: str,
    settings: TrainingSettings,
    identity: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> dict[str, Any]:
    told = source.build
    return {
        "schema": SCHEMA,
        "base_model": model_name(name),
        **{key: told.get(key) for key in ("persona", "style", "language", "document_words", "topk")},
        "prompts": told.get("prompts") or dict(load_prompts("sft")),
        "data": {**source.fingerprints, **source.told_fingerprints},
        "training": {"identity": dict(identity), "figures": dict(figures)},
    }


def _save(out: Path, model: Any, tokenizer: Any, record: Mapping[str, Any], folder: TrainingFolder) -> None:
    import torch

    metrics = folder.path / "metrics.jsonl"
    settings = record["training"]["identity"]["settings"]
    dtype = getattr(torch, settings["save_dtype"])

    def write(temporary: Path) -> None:
        # Adapters' embeddings are untrained; to find that out, peft would ask the hub.
        more = {"save_embedding_layers": False} if settings["adapters_only"] else {}
        model.to(dtype).save_pretrained(temporary, **more)
        tokenizer.save_pretrained(temporary)
        if metrics.is_file():
            (temporary / "metrics.jsonl").write_bytes(metrics.read_bytes())
        if folder.tensorboard.is_dir():
            shutil.copytree(folder.tensorboard, temporary / "tensorboard")
        write_json(temporary / SIMULATOR, record)

    try:
        write_folder(out, write)
    except OSError as error:
        raise TuningError(
            f"The tuned model can't be saved in {str(out)!r}: {error}. What was learned is kept: the same command "
            "saves it."
        ) from error


def _shown(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {loss:.4f}" for kind, loss in losses.items()) or "none"
