"""Gradient checkpointing (arXiv 1604.06174), on while a learner computes and off for a sampler of the same model."""

from __future__ import annotations

import threading
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from agents.errors import ModelError

__all__ = ["Recompute"]


class Recompute:
    """While it is entered, by one thread or several, a model's layers keep their input alone and are computed again in
    the backward pass.

    transformers does so for layers in training mode. Here each layer itself is put into it, and what it is made of is
    not: dropout stays off, and the log-probs are those of the sampler.

    Args:
        model: A model of transformers, or its trunk.

    Raises:
        ModelError: It has no layers that can be computed again.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._layers: list[Any] = [one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)]
        if not self._layers:
            raise ModelError(
                f"{type(model).__name__} has no layers that transformers can checkpoint: set [learner] "
                "gradient_checkpointing to false, and lower micro_batch_tokens instead."
            )
        # No layer draws anything, so there is no generator whose state would have to come back.
        function = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        for layer in self._layers:
            layer._gradient_checkpointing_func = function
        self._lock, self._num_inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._num_inside += 1
            self._set(True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._num_inside -= 1
            if not self._num_inside:
                self._set(False)

    def _set(self, on: bool) -> None:
        for layer in self._layers:
            layer.gradient_checkpointing = layer.training = on
