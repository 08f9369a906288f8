"""The optimizer, its learning rate, and a step that refuses what isn't finite."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from agents.errors import HalfUpdatedError, NonFiniteError
from zs_env.curriculum import check_probability, check_whole
from zs_env.errors import ConfigError

__all__ = [
    "Masters",
    "OptimizerKind",
    "OptimizerSettings",
    "Schedule",
    "TrainedParameters",
    "apply_gradients",
    "make_optimizer",
]

OptimizerKind = Literal["adamw", "adafactor"]
"""AdamW (arXiv 1711.05101), which keeps two float32 numbers a weight; or torch's Adafactor (arXiv 1804.04235), which
keeps a row and a column of them a matrix, and whose learning rate counts in units of a matrix's root mean square."""

Masters = Literal["float32", "none"]
"""What takes the updates of weights in bfloat16: a copy in float32; or, with none, the weights themselves, each update
rounded up or down at random so that it is right on average (stochastic rounding; Zamirai et al., arXiv 2010.06192)."""

Schedule = Literal["constant", "linear"]
"""What the learning rate does after its warm-up: it stays, or it falls in a straight line
to `final_fraction` of its height after the last step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """The optimizer and its learning rate.

    Attributes:
        kind: See `OptimizerKind`.
        masters: See `Masters`; of weights in bfloat16 alone.
        learning_rate: At its highest, above 0.
        schedule: See `Schedule`.
        final_fraction: Where a falling rate ends, in [0, 1]: 0 is at nothing, 0.1 at a tenth.
        warmup_steps: Training steps over which the rate rises from 0 in a straight line.
        betas: AdamW's decay of the first and second moment.
        eps: AdamW's, added to the root of the second moment.
        weight_decay: Decoupled, on matrices alone; not on norms, biases and other vectors.
        max_grad_norm: Gradients longer than this are shortened to it.
    """

    kind: OptimizerKind = "adamw"
    masters: Masters = "float32"
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
        if self.kind not in get_args(OptimizerKind):
            raise ConfigError(f"kind must be one of {get_args(OptimizerKind)}; got {self.kind!r}.")
        if self.masters not in get_args(Masters):
            raise ConfigError(f"masters must be one of {get_args(Masters)}; got {self.masters!r}.")
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
    """The optimizer over the parameters that are trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    if settings.kind == "adafactor":
        return torch.optim.Adafactor(groups, lr=settings.learning_rate)
    # Left to itself, torch moves all weights together on a GPU, with one more float32 copy of them while it does.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.eps, foreach=False)


class TrainedParameters:
    """The parameters of a model that are trained, with their optimizer.

    Weights in bfloat16 have too few digits to take small updates: 1 + 1e-6 is 1. So each has a *master* in float32
    (Micikevicius et al., arXiv 1710.03740): gradients add up on it, the optimizer moves it, and the model's weight is
    its rounding. A model in float32 is its own master. With `masters="none"` no copy is kept: one weight after the
    other is taken to float32, moved, and rounded at random; gradients of micro-batches add up in the weights' own type.

    Args:
        parameters: The model's; those that want no gradient are left out.
        settings: The optimizer.

    Attributes:
        parameters: Those that are trained.
        masters: In the same order, what the optimizer moves; empty shells between steps where no masters are kept.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], settings: OptimizerSettings) -> None:
        self.settings = settings
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.masters = [
            one if one.dtype == torch.float32 else torch.nn.Parameter(one.detach().float()) for one in self.parameters
        ]
        self._rounded = [
            (one, master) for one, master in zip(self.parameters, self.masters, strict=True) if one is not master
        ]
        self.optimizer = make_optimizer(self.masters, settings)  # it looks at their shapes
        self._generator: torch.Generator | None = None
        if settings.masters == "none" and self._rounded:
            self._generator = torch.Generator(self._rounded[0][0].device).manual_seed(0)
            for _, master in self._rounded:
                master.data = master.data.new_empty(0)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """While it is entered, each gradient goes to its master as soon as it is complete: no second set is ever held.

        Hooks that stayed would take gradients from whoever trains the same weights later.
        """
        handles: list[Any] = []
        try:
            if self._generator is None:
                for one, master in self._rounded:
                    hook = partial(_move_gradient, master=master)
                    handles.append(one.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def add_gradients(self, gradients: Sequence[Tensor | None]) -> None:
        """Add gradients that were computed apart; in the order of `parameters`, or none at all."""
        for one, gradient in zip(self.masters if self._generator is None else self.parameters, gradients, strict=False):
            if gradient is not None:
                _add_gradient(one, gradient)

    def step(self, *, loss: float, learning_rate: float) -> float:
        """One optimizer step; see `apply_gradients`."""
        if self._generator is not None:
            return self._step_one_by_one(self._generator, loss=loss, learning_rate=learning_rate)
        for one, master in self._rounded:
            _move_gradient(one, master)
        norm = apply_gradients(self.optimizer, self.settings, loss=loss, learning_rate=learning_rate)
        self._round()
        return norm

    def zero_grad(self) -> None:
        """Let go of all gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        for one, _ in self._rounded:
            one.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, and the masters where the model's weights are their rounding."""
        state: dict[str, Any] = {"optimizer": self.optimizer.state_dict()}
        if self._generator is not None:
            state["rounding"] = self._generator.get_state()
        elif self._rounded:
            state["masters"] = [master.detach() for _, master in self._rounded]
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self._generator is not None:
            _set_generator(self._generator, state["rounding"])
            return
        with torch.no_grad():
            for (_, master), saved in zip(self._rounded, state.get("masters", ()), strict=True):
                master.copy_(saved)
        self._round()

    def _step_one_by_one(self, generator: torch.Generator, *, loss: float, learning_rate: float) -> float:
        """A step that holds one weight and its gradient in float32 at a time."""
        found = [one.grad for one in self.parameters if one.grad is not None]
        norm = math.sqrt(sum(float(gradient.float().norm()) ** 2 for gradient in found))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.zero_grad()
            raise _not_finite(loss, norm, learning_rate, self.settings)
        _set_rate(self.optimizer, learning_rate)
        shorter = min(1.0, self.settings.max_grad_norm / (norm + 1e-6))
        try:
            for one, master in zip(self.parameters, self.masters, strict=True):
                if one.grad is None:
                    continue
                gradient, one.grad = one.grad.float() * shorter, None
                if one is not master:
                    master.data = one.detach().float()
                master.grad = gradient
                self.optimizer.step()  # of this one alone, as no other has a gradient
                master.grad = None
                if one is not master:
                    one.data.copy_(_round_at_random(master.data, generator))
                    master.data = master.data.new_empty(0)
        except Exception as error:
            raise HalfUpdatedError(f"The optimizer's step broke off: {error}") from error
        return norm

    @torch.no_grad()
    def _round(self) -> None:
        for one, master in self._rounded:
            one.copy_(master)


def _set_generator(generator: torch.Generator, state: Tensor) -> None:
    """Go on where a generator was; one of another kind of device, which has states of its own, begins anew by a seed
    that follows from the state.
    """
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
    else:
        generator.manual_seed(int.from_bytes(hashlib.sha256(state.numpy().tobytes()).digest()[:7], "big"))


def _round_at_random(exact: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers in float32 as one of the two neighbours that bfloat16 has: the nearer is the likelier, in proportion."""
    # bfloat16 is the upper half of float32's bits: a random lower half, added, carries with just that chance.
    dither = torch.randint(0, 1 << 16, exact.shape, generator=generator, device=exact.device, dtype=torch.int32)
    return dither.add_(exact.view(torch.int32)).bitwise_and_(-(1 << 16)).view(torch.float32)


def _set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _not_finite(loss: float, norm: float, learning_rate: float, settings: OptimizerSettings) -> NonFiniteError:
    return NonFiniteError(
        f"The loss is {loss} and the gradient's length {norm}: this step was not applied, the weights are those before "
        f"it. Lower the learning rate (now {learning_rate:g}), or the clip of the gradient (max_grad_norm="
        f"{settings.max_grad_norm:g})."
    )


def _add_gradient(master: torch.nn.Parameter, gradient: Tensor) -> None:
    if master.grad is None:
        master.grad = gradient.to(master.dtype)
    else:
        master.grad.add_(gradient)


def _move_gradient(parameter: Tensor, master: torch.nn.Parameter) -> None:
    if parameter.grad is not None:
        _add_gradient(master, parameter.grad)
        parameter.grad = None


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
    length: Any = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
    norm = float(length.full_tensor() if hasattr(length, "full_tensor") else length)  # each rank has a part of its own
    if not (math.isfinite(loss) and math.isfinite(norm)):
        optimizer.zero_grad(set_to_none=True)
        raise _not_finite(loss, norm, learning_rate, settings)
    _set_rate(optimizer, learning_rate)
    try:
        optimizer.step()
    except Exception as error:
        raise HalfUpdatedError(f"The optimizer's step broke off: {error}") from error
    optimizer.zero_grad(set_to_none=True)
    return norm
