"""TRL's `SFTTrainer`, driven: what it learns in which order, its pace, its checkpoints, and when it must stop."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from zs_env.errors import ConfigError, TuningError, require
from zs_env.tuning.pace import Pace
from zs_env.tuning.tokenising import IGNORED, Encoded
from zs_env.tuning.training_folder import TrainingFolder
from zs_env.tuning.training_settings import TrainingSettings

__all__ = [
    "Plan",
    "StopRequest",
    "collate",
    "completion_loss",
    "is_main_process",
    "make_trainer",
    "num_processes",
    "stop_on_signals",
]

_TELL_EVERY_S = 30.0


def num_processes() -> int:
    """How many processes train together: more than one under `accelerate launch`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this one writes and talks."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(slots=True)
class StopRequest:
    """Which signal asked for a stop, if one did."""

    signal: int | None = None


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[StopRequest]:
    """Within it, the first Ctrl-C or SIGTERM is noted, to be looked at after a step; the second stops at once."""
    request = StopRequest()
    old: dict[int, Any] = {}

    def note(number: int, _: object) -> None:
        if request.signal is not None:
            raise KeyboardInterrupt
        request.signal = number
        say("Stopping after this step, with a checkpoint. Once more stops at once, and loses what is behind the last.")

    if threading.current_thread() is threading.main_thread():
        old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a training does.

    Attributes:
        settings: How.
        examples: What is learned.
        order: Places of examples, in the order in which they are learned.
        learning_rate: Its peak.
        device: "cpu" or "cuda".
        autocast: Whether matrices are multiplied in bfloat16.
        pace: Its clock.
        folder: Where it keeps what it needs to go on.
        stop: Says when a person wants it to stop.
        say: Is told how it goes.
    """

    settings: TrainingSettings
    examples: Sequence[Encoded]
    order: Sequence[int]
    learning_rate: float
    device: str
    autocast: bool
    pace: Pace
    folder: TrainingFolder
    stop: StopRequest
    say: Callable[[str], None]


def make_trainer(model: Any, tokenizer: Any, plan: Plan) -> Any:
    """The trainer.

    Args:
        model: The model; with LoRA it is wrapped.
        tokenizer: Its tokenizer.
        plan: What it is to do.

    Returns:
        A `trl.SFTTrainer`; its `train` may be given a checkpoint.
    """
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.sft_trainer import SFTTrainer

    class Trainer(SFTTrainer):  # type: ignore[misc, unused-ignore]
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                factor = plan.pace.factor
                schedules: Any = torch.optim.lr_scheduler
                self.lr_scheduler = schedules.LambdaLR(optimizer or self.optimizer, lambda step: factor(step))
            return self.lr_scheduler

        def _set_signature_columns_if_needed(self) -> None:
            plain: Any = super()
            plain._set_signature_columns_if_needed()
            columns: Any = self._signature_columns
            if "weights" not in columns:
                columns.append("weights")

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if padding_free:
                plain: Any = super()
                return plain.compute_loss(model, inputs, return_outputs, num_items_in_batch)
            loss, accuracy = completion_loss(model, inputs, num_items_in_batch)
            self._metrics["train"]["mean_token_accuracy"].append(accuracy)
            if num_items_in_batch is not None:  # tokens of all processes, over which gradients are averaged
                loss = loss * self.accelerator.num_processes
            return loss

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """The model's card is written with the model, not beside each checkpoint."""

    padding_free = _is_padding_free(plan)
    if padding_free and plan.settings.answer_weight != 1.0:
        raise ConfigError(
            f"answer_weight={plan.settings.answer_weight:g} isn't to be had with flash attention, whose batches TRL "
            "computes without padding: leave it at 1, or uninstall flash_attn."
        )
    columns = {
        "input_ids": [example.input_ids for example in plan.examples],
        "labels": [example.labels for example in plan.examples],
        "weights": [example.weights(plan.settings.answer_weight) for example in plan.examples],
    }
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else plan.examples[0].completion[-1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated.*")  # TRL's own default
        trainer = Trainer(
            model=model,
            args=_arguments(plan),
            train_dataset=Dataset.from_dict(columns).select(plan.order),  # by its places: each example is held once
            processing_class=tokenizer,
            data_collator=None if padding_free else lambda rows: collate(rows, pad),
            peft_config=_adapters(plan.settings),
            callbacks=[_make_callback(plan)],
        )
    trainer.remove_callback(PrinterCallback)
    if plan.settings.tensorboard and is_main_process():
        trainer.add_callback(_tensorboard(plan.folder))
    return trainer


def collate(rows: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    """Examples of one micro-batch as tensors of [B, T], padded on the right.

    Args:
        rows: Their `input_ids`, `labels` and `weights`.
        pad: The token to pad with; it isn't looked at, and isn't learned.
    """
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    batch = {
        "input_ids": torch.full((len(rows), longest), pad),
        "attention_mask": torch.zeros((len(rows), longest), dtype=torch.long),
        "labels": torch.full((len(rows), longest), IGNORED),
        "weights": torch.ones((len(rows), longest)),
    }
    for at, row in enumerate(rows):
        size = len(row["input_ids"])
        batch["attention_mask"][at, :size] = 1
        for name in ("input_ids", "labels", "weights"):
            batch[name][at, :size] = torch.tensor(row[name])
    return batch


def completion_loss(model: Any, batch: Mapping[str, Any], num_tokens: Any = None) -> tuple[Any, float]:
    """The loss of completions: the weighted sum of their tokens' losses over how many they are.

    The same as TRL's where all weights are 1. It doesn't compute the logits of prompts, of which nothing is learned:
    on a CPU TRL computes those too, and twice.

    Args:
        model: The model.
        batch: What `collate` gave.
        num_tokens: Learned tokens of all micro-batches of the step; left out: of this one.

    Returns:
        The loss, and the share of learned tokens that the model finds likeliest.
    """
    import torch

    labels = batch["labels"][:, 1:]
    learned = labels != IGNORED
    first = int(learned.any(dim=0).nonzero()[0])  # the first position that predicts a learned token
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        logits_to_keep=batch["input_ids"].shape[1] - first,
        use_cache=False,
    ).logits
    kept = learned[:, first:]
    found, wanted = logits[:, :-1][kept].float(), labels[:, first:][kept]  # [N, V], [N]
    losses = torch.nn.functional.cross_entropy(found, wanted, reduction="none")
    loss = (losses * batch["weights"][:, 1:][:, first:][kept]).sum()
    with torch.no_grad():
        accuracy = float((found.argmax(-1) == wanted).float().mean())
    return loss / (len(losses) if num_tokens is None else num_tokens), accuracy


def _is_padding_free(plan: Plan) -> bool:
    """Flash attention needs no padding; elsewhere micro-batches of about one length waste little."""
    return plan.device == "cuda" and importlib.util.find_spec("flash_attn") is not None


def _arguments(plan: Plan) -> Any:
    from trl.trainer.sft_config import SFTConfig

    settings = plan.settings
    on_gpu = plan.device == "cuda"
    return SFTConfig(
        output_dir=str(plan.folder.checkpoints),
        per_device_train_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.batch_size // settings.micro_batch_size // num_processes(),
        max_steps=plan.pace.total_steps,
        learning_rate=plan.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        adam_beta2=0.95,  # a few hundred steps: a longer memory would still hold the first ones at the end
        optim="adamw_torch_fused",
        bf16=plan.autocast,
        fp16=False,
        use_cpu=not on_gpu,
        gradient_checkpointing=settings.gradient_checkpointing,
        max_length=None,  # too long ones were left out
        completion_only_loss=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        shuffle_dataset=False,
        train_sampling_strategy="sequential",  # in the order that was laid down
        padding_free=_is_padding_free(plan),
        dataloader_pin_memory=on_gpu,
        dataloader_num_workers=0,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the callback says when
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        data_seed=settings.seed,
    )


def _adapters(settings: TrainingSettings) -> Any:
    if settings.lora_rank is None:
        return None
    import peft

    make: Any = peft.LoraConfig  # its alpha may be a fraction, whatever its annotation says
    return make(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _tensorboard(folder: TrainingFolder) -> Any:
    writing = require("torch.utils.tensorboard", needed_for="--tensorboard", install="pip install tensorboard")
    from transformers.integrations import integration_utils

    make: Any = integration_utils.TensorBoardCallback
    return make(tb_writer=writing.SummaryWriter(str(folder.tensorboard)))


def _make_callback(plan: Plan) -> Any:
    from transformers import TrainerCallback

    pace, settings = plan.pace, plan.settings

    class Callback(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.saved_at = self.told_at = time.monotonic()
            self.done = False
            self.unproven: int | None = None  # a checkpoint whose weights no loss was computed with yet

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            pace.budget_s = _gather(pace.budget_s)[0]  # as the main process counts
            pace.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            told = _gather((pace.read_clock(), plan.stop.signal is not None))
            asked = any(one[1] for one in told)
            pace.tick(told[0][0])
            self.done = state.global_step >= pace.total_steps or pace.is_time_up
            if self.done or asked:
                control.should_training_stop = control.should_save = True
            elif time.monotonic() - self.saved_at > 60 * settings.save_minutes and num_processes() == 1:
                control.should_save = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
            if not (math.isfinite(loss) and math.isfinite(norm)):
                self.diverge(f"Step {state.global_step} has a loss of {loss} and gradients of norm {norm}")
            self.prove()
            size = settings.batch_size
            seen = plan.order[(state.global_step - 1) * size : state.global_step * size]
            row = {
                "step": state.global_step,
                "loss": loss,
                "learning_rate": float(logs["learning_rate"]),
                "grad_norm": norm,
                "token_accuracy": float(logs.get("mean_token_accuracy", math.nan)),
                "tokens": sum(len(plan.examples[place]) for place in seen),
                "elapsed_s": round(pace.elapsed_s, 3),
            }
            if not is_main_process():
                return
            plan.folder.measure(row)
            if time.monotonic() - self.told_at > _TELL_EVERY_S or state.global_step in (1, pace.total_steps):
                self.told_at = time.monotonic()
                plan.say(_told(row, pace))

        def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            self.saved_at = time.monotonic()
            if not all(bool(one.isfinite().all()) for one in model.parameters() if one.requires_grad):
                self.diverge(f"Step {state.global_step} made weights that are no numbers")
            if is_main_process():
                plan.folder.mark(state.global_step, {"elapsed_s": pace.elapsed_s, "done": self.done})
                self.unproven = state.global_step

        def prove(self) -> None:
            if self.unproven is not None:
                self.unproven = None
                plan.folder.last_checkpoint()  # those before it are deleted

        def diverge(self, what: str) -> None:
            if self.unproven is not None:
                plan.folder.drop(self.unproven)
            raise TuningError(
                f"{what}: the training has diverged. Begin again with a lower learning rate (--learning-rate; its peak "
                f"was {plan.learning_rate:g}) or with --dtype float32. The last checkpoint that a good loss came from, "
                f"if there was one, is kept in {str(plan.folder.path)!r}: delete that folder to begin again."
            )

    return Callback()


def _told(row: dict[str, Any], pace: Pace) -> str:
    left = pace.step_s * (pace.total_steps - row["step"])
    if pace.budget_s is not None:
        left = min(left, max(pace.budget_s - pace.elapsed_s, 0.0))
    return (
        f"step {row['step']:,} of at most {pace.total_steps:,}  loss {row['loss']:.3f}  learning rate "
        f"{row['learning_rate']:.2e}  {row['tokens'] / max(pace.step_s, 1e-9):,.0f} tokens/s  "
        f"about {left / 60:,.1f} min left"
    )


def _gather(mine: Any) -> list[Any]:
    """What each process says, the main one first: all must do the same."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    told: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(told, mine)
    return told
