"""The optimizer, its learning rate, and a step that refuses what isn't finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from agents.errors import HalfUpdatedError, NonFiniteError
from zs_env.curriculum import check_probability, check_whole
from zs_env.errors import ConfigError

__all__ = ["OptimizerSettings", "Schedule", "apply_gradients", "make_optimizer"]

Schedule = Literal["constant", "linear"]
"""What the learning rate does after its warm-up: it stays, or it falls in a straight line
to `final_fraction` of its height after the last step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """AdamW (arXiv 1711.05101) and its learning rate.

    Attributes:
        learning_rate: At its highest, above 0.
        schedule: See `Schedule`.
        final_fraction: Where a falling rate ends, in [0, 1]: 0 is at nothing, 0.1 at a tenth.
        warmup_steps: Training steps over which the rate rises from 0 in a straight line.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled, on matrices alone; not on norms, biases and other vectors.
        max_grad_norm: Gradients longer than this are shortened to it.
    """

    learning_rate: float = 1e-6
    schedule: Schedule = "constant"
    final_fraction: float = 0.0
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "eps", "max_grad_norm"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise ConfigError(f"{name} must be a finite number above 0; got {value!r}.")
        if not (isinstance(self.weight_decay, (int, float)) and 0 <= self.weight_decay < math.inf):
            raise ConfigError(f"weight_decay must be a finite number of at least 0; got {self.weight_decay!r}.")
        object.__setattr__(self, "betas", tuple(self.betas))
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas must be two numbers in [0, 1); got {self.betas!r}.")
        if self.schedule not in get_args(Schedule):
            raise ConfigError(f"schedule must be one of {get_args(Schedule)}; got {self.schedule!r}.")
        check_probability("final_fraction", self.final_fraction)
        check_whole("warmup_steps", self.warmup_steps, least=0)

    def rate_at(self, step: int, total_steps: int) -> float:
        """The learning rate of training step `step`, counted from 0.

        Examples:
            >>> settings = OptimizerSettings(learning_rate=1.0, schedule="linear", warmup_steps=2)
            >>> [settings.rate_at(step, 6) for step in range(6)]
            [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        left = max(total_steps - step, 0) / max(total_steps - self.warmup_steps, 1)
        return self.learning_rate * (self.final_fraction + (1.0 - self.final_fraction) * left)


def make_optimizer(parameters: Iterable[torch.nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """AdamW over the parameters that are trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.eps)


def apply_gradients(
    optimizer: torch.optim.Optimizer, settings: OptimizerSettings, *, loss: float, learning_rate: float
) -> float:
    """Clip the gradients and take one step, unless something isn't finite.

    Args:
        optimizer: Whose parameters hold their gradients.
        settings: For the clipping.
        loss: The loss that was differentiated, to look at.
        learning_rate: Of this step.

    Returns:
        The length of the gradient before clipping.

    Raises:
        NonFiniteError: The loss or the gradient is NaN or infinite. No weight was changed, and gradients are gone.
        HalfUpdatedError: The optimizer broke off. After any other error the weights are those before.
    """
    parameters: list[Any] = [p for group in optimizer.param_groups for p in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        optimizer.zero_grad(set_to_none=True)
        raise NonFiniteError(
            f"The loss is {loss} and the gradient's length {norm}: this step was not applied, the weights are those "
            f"before it. Lower the learning rate (now {learning_rate:g}), or the clip of the gradient (max_grad_norm="
            f"{settings.max_grad_norm:g})."
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    try:
        optimizer.step()
    except Exception as error:
        raise HalfUpdatedError(f"The optimizer's step broke off: {error}") from error
    optimizer.zero_grad(set_to_none=True)
    return norm
