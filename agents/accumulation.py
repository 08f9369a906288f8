"""Gradients of a whole batch from micro-batches of any sizes, and what a learner learns from.

Shapes: N policy tokens of a micro-batch, laid end to end; n policy tokens of one episode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from agents.batches import Batch, Batching
from agents.losses import Aggregation, token_weights
from agents.optimization import TrainedParameters
from agents.trajectory import Trajectory

__all__ = ["Accumulator", "Example", "Sums", "TokenLoss"]


@dataclass(frozen=True, slots=True)
class Example:
    """A trajectory to learn from; each tensor has one number for each of its policy tokens, in order.

    Attributes:
        trajectory: What was done.
        advantages: [n]: how much better each token did than expected; None until an algorithm has worked it out.
        ref_logprobs: [n]: the reference model's log-probs, where the algorithm wants them.
        values: [n]: the critic's, before each token, where the algorithm has one.
        returns: [n]: what the critic should have said.
        old_logprobs: [n]: the learner's own before the step's first update, where the settings want them.
    """

    trajectory: Trajectory
    advantages: Tensor | None = None
    ref_logprobs: Tensor | None = None
    values: Tensor | None = None
    returns: Tensor | None = None
    old_logprobs: Tensor | None = None

    @classmethod
    def of(cls, trajectory: Trajectory, advantage: float) -> Example:
        """A trajectory all of whose tokens share one advantage."""
        return cls(trajectory, torch.full((trajectory.num_policy_tokens,), advantage, dtype=torch.float32))

    def with_(self, **tensors: Tensor) -> Example:
        """The same example with more known about it."""
        return replace(self, **tensors)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """What a loss gives.

    Attributes:
        loss: [N], to be weighted and summed.
        means: Name to [N], without gradient: logged as means over the batch's policy tokens.
        maxima: Name to [N]: logged as maxima.
    """

    loss: Tensor
    means: dict[str, Tensor] = field(default_factory=dict)
    maxima: dict[str, Tensor] = field(default_factory=dict)


@dataclass(slots=True)
class Sums:
    """What micro-batches add up to.

    Attributes:
        loss: Their part of the whole batch's loss.
        totals: Of each mean that the loss names, its sum over policy tokens.
        maxima: Of each maximum that the loss names; minus infinity where the policy wrote nothing.
    """

    loss: float = 0.0
    totals: dict[str, float] = field(default_factory=dict)
    maxima: dict[str, float] = field(default_factory=dict)

    def add(self, other: Sums) -> None:
        """Count others in."""
        self.loss += other.loss
        for name, value in other.totals.items():
            self.totals[name] = self.totals.get(name, 0.0) + value
        for name, value in other.maxima.items():
            self.maxima[name] = max(self.maxima.get(name, -torch.inf), value)

    def metrics(self, num_tokens: int) -> dict[str, float]:
        """`loss`, and the means and maxima over a batch of so many policy tokens."""
        means = {name: total / max(num_tokens, 1) for name, total in self.totals.items()}
        maxima = {name: 0.0 if value == -torch.inf else value for name, value in self.maxima.items()}
        return {"loss": self.loss, **means, **maxima}


T = TypeVar("T")


class Accumulator:
    """Adds the gradient of a whole batch's loss to parameters, micro-batch by micro-batch.

    Args:
        parameters: Whose gradients; see `TrainedParameters`. None for inference alone.
        batching: What is differentiated at once: more is faster until memory runs out, and the gradient is the same.
        num_workers: Python threads that differentiate micro-batches side by side, each with gradients of its own. For
            small models on a CPU; the gradient is the same, to the last bit.
    """

    def __init__(self, parameters: TrainedParameters | None, *, batching: Batching, num_workers: int) -> None:
        self._parameters = parameters
        self._batching = batching
        self._num_workers = num_workers

    def accumulate(
        self,
        examples: Sequence[Example],
        loss_of: Callable[[list[Example], Batch], TokenLoss],
        aggregation: Aggregation,
    ) -> dict[str, float]:
        """Add the gradient of the whole batch's loss.

        Every token weighs what it weighs in the whole batch, so the split changes nothing but rounding.

        Args:
            examples: The batch.
            loss_of: The loss of a micro-batch's policy tokens.
            aggregation: How tokens share the loss.

        Returns:
            `loss` and the means and maxima that the loss named, over all policy tokens.
        """
        lengths = torch.tensor([example.trajectory.num_policy_tokens for example in examples])
        sums = self.accumulate_weighted(examples, token_weights(lengths, aggregation), loss_of)
        return sums.metrics(int(lengths.sum()))

    def accumulate_weighted(
        self, examples: Sequence[Example], weights: Tensor, loss_of: Callable[[list[Example], Batch], TokenLoss]
    ) -> Sums:
        """Add the gradient of a weighted sum of all token losses.

        Args:
            examples: What is differentiated.
            weights: [B]: what each policy token of an example weighs.
            loss_of: See `accumulate`.
        """
        assert self._parameters is not None, "this one was made for inference alone"
        parameters = self._parameters
        sums = Sums()

        def differentiate(part: list[int]) -> tuple[Tensor, TokenLoss, tuple[Tensor | None, ...]]:
            chosen = [examples[index] for index in part]
            batch = self._batching.collate([example.trajectory for example in chosen])
            result = loss_of(chosen, batch)
            loss = (result.loss * weights[part][batch.flat_rows()].to(result.loss.device)).sum()
            if self._num_workers == 1:  # in place, which takes no second set of gradients and suits sharded models
                loss.backward()  # type: ignore[no-untyped-call]
                return loss.detach(), result, ()
            return loss.detach(), result, torch.autograd.grad(loss, parameters.parameters, allow_unused=True)

        with parameters.gathering():
            for loss, result, gradients in self._map(differentiate, self._micro_batches(examples)):
                parameters.add_gradients(gradients)
                totals = {name: float(values.sum()) for name, values in result.means.items()}
                maxima = {name: float(one.max()) if len(one) else -torch.inf for name, one in result.maxima.items()}
                sums.add(Sums(float(loss), totals, maxima))
        return sums

    @torch.no_grad()
    def infer(self, examples: Sequence[Example], function: Callable[[Batch], Tensor]) -> list[Tensor]:
        """[n] for each example, of a function that gives [N] for a micro-batch; no gradient is kept."""
        done: dict[int, Tensor] = {}
        for part in self._micro_batches(examples):
            batch = self._batching.collate([examples[index].trajectory for index in part])
            flat, rows = function(batch).cpu(), batch.flat_rows()
            for row, index in enumerate(part):
                done[index] = flat[rows == row]
        return [done[index] for index in range(len(examples))]

    def _map(self, function: Callable[[list[int]], T], parts: list[list[int]]) -> Iterator[T]:
        """The function of each part, in order; side by side where there are workers."""
        if self._num_workers == 1:
            yield from map(function, parts)
            return
        with ThreadPoolExecutor(self._num_workers, thread_name_prefix="learner-worker") as workers:
            yield from workers.map(function, parts)

    def _micro_batches(self, examples: Sequence[Example]) -> list[list[int]]:
        return self._batching.split([example.trajectory for example in examples])
