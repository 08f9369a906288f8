"""How a simulator is tuned."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

__all__ = ["Dtype", "Schedule", "TrainingSettings"]

Dtype = Literal["auto", "float32", "bfloat16"]
SaveDtype = Literal["float32", "bfloat16", "float16"]
Schedule = Literal["linear", "cosine", "constant"]
Device = Literal["auto", "cpu", "cuda"]

_CHANGEABLE = ("threads", "save_minutes", "tensorboard")
"""What may differ between a training that was stopped and the command that goes on with it."""

_REFERENCE_PARAMETERS = 135e6
_REFERENCE_RATE = 2e-4
_LORA_FACTOR = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How a simulator is tuned. The defaults suit a model of 135 million parameters and some thousand examples.

    Attributes:
        lora_rank: The rank of LoRA's adapters on all linear layers; None tunes all weights.
        lora_alpha: Their scale; left out: twice the rank.
        epochs: How often each example is learned, at most.
        minutes: How long all of it may take, at most: the held-out losses and the training. None: as long as it takes.
            The learning rate then falls with the clock or with the steps, whichever is further.
        learning_rate: Its peak; left out: 2e-4 for 135 million parameters, less by the square root of how many more
            there are; ten times as much for LoRA.
        schedule: How it falls to zero behind its peak.
        warmup: The share of the training in which it rises.
        batch_size: Examples a step, over all processes.
        micro_batch_size: Examples that are computed together in a process.
        answer_weight: How much the tokens of a golden answer count in the loss, where all others count 1. They are few
            of a completion's tokens, and all that tells useful documents from noisy ones; a small model that learns
            for minutes is slow to find that out by itself. This is ours, not the paper's.
        max_tokens: Longer examples are left out, and counted.
        dtype: What matrices are multiplied in. Weights and the optimizer's state stay float32 in any case (but for
            frozen ones under LoRA), since small updates are lost in bfloat16. "auto": bfloat16 where the processor
            has instructions for it, and on GPUs.
        device: "auto": a GPU if there is one.
        threads: Threads that compute; left out: torch's choice.
        seed: Of the order of examples and of LoRA's first weights.
        save_minutes: Minutes between checkpoints.
        held_out_limit: Held-out examples that the losses are of, at most; 0 for none.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are clipped to this norm.
        gradient_checkpointing: Whether to compute activations twice instead of keeping them: less memory, slower.
        save_dtype: What the weights are saved in. The held-out losses afterwards are of what is saved.
        adapters_only: Whether to save LoRA's adapters alone, rather than the model with them merged in.
        tensorboard: Whether to write TensorBoard's event files beside the checkpoints.
    """

    lora_rank: int | None = None
    lora_alpha: float | None = None
    epochs: float = 3.0
    minutes: float | None = None
    learning_rate: float | None = None
    schedule: Schedule = "linear"
    warmup: float = 0.05
    batch_size: int = 16
    micro_batch_size: int = 8
    answer_weight: float = 1.0
    max_tokens: int = 1024
    dtype: Dtype = "auto"
    device: Device = "auto"
    threads: int | None = None
    seed: int = 0
    save_minutes: float = 10.0
    held_out_limit: int = 200
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    save_dtype: SaveDtype = "bfloat16"
    adapters_only: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("micro_batch_size", 1), ("max_tokens", 16), ("seed", 0)):
            check_whole(name, getattr(self, name), least=least)
        check_whole("held_out_limit", self.held_out_limit, least=0)
        for name in ("lora_rank", "threads"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least=1)
        for name in (
            "lora_alpha",
            "epochs",
            "minutes",
            "learning_rate",
            "save_minutes",
            "max_grad_norm",
            "answer_weight",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} must be a finite number above 0; got {value!r}.")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup must be a share of the training, at least 0 and below 1; got {self.warmup!r}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay must be a finite number of at least 0; got {self.weight_decay!r}.")
        for name, choices in (("dtype", Dtype), ("save_dtype", SaveDtype), ("schedule", Schedule), ("device", Device)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(f"{name} must be one of {get_args(choices)}; got {getattr(self, name)!r}.")
        if self.batch_size % self.micro_batch_size:
            raise ConfigError(
                f"batch_size ({self.batch_size}) must be a multiple of micro_batch_size ({self.micro_batch_size})."
            )
        if self.adapters_only and self.lora_rank is None:
            raise ConfigError("adapters_only saves LoRA's adapters, and there are none without lora_rank.")
        if self.lora_alpha is not None and self.lora_rank is None:
            raise ConfigError(
                f"lora_alpha={self.lora_alpha} scales LoRA's adapters, and there are none without lora_rank."
            )

    def to_json(self) -> dict[str, Any]:
        """What the tuned weights depend on."""
        return {name: value for name, value in asdict(self).items() if name not in _CHANGEABLE}

    def peak_rate(self, num_parameters: int) -> float:
        """The peak of the learning rate.

        Examples:
            >>> full, lora = TrainingSettings(), TrainingSettings(lora_rank=16)
            >>> full.peak_rate(135_000_000), full.peak_rate(13_500_000_000), lora.peak_rate(135_000_000)
            (0.0002, 2e-05, 0.002)
        """
        if self.learning_rate is not None:
            return self.learning_rate
        larger = max(num_parameters / _REFERENCE_PARAMETERS, 1.0)
        rate = _REFERENCE_RATE / math.sqrt(larger) * (1.0 if self.lora_rank is None else _LORA_FACTOR)
        return float(f"{rate:.2g}")
