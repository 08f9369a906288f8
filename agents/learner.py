"""What changes the weights: log-probs, a loss over the policy's tokens, micro-batches, one optimizer step.

Shapes: N policy tokens of a micro-batch, laid end to end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from agents.batches import TokenBatch, collate, split_by_tokens
from agents.losses import Aggregation, token_weights
from agents.optimization import OptimizerSettings, apply_gradients, make_optimizer
from agents.policy import Policy
from agents.trajectory import Trajectory

__all__ = ["Example", "Learner", "LossTokens", "TokenLoss", "TokenLossFunction"]


@dataclass(frozen=True, slots=True)
class Example:
    """A trajectory to learn from.

    Attributes:
        trajectory: What was done.
        advantage: How much better it went than expected.
        ref_logprobs: [its policy tokens]: the reference model's log-probs, where the loss wants them.
    """

    trajectory: Trajectory
    advantage: float
    ref_logprobs: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossTokens:
    """The policy tokens of a micro-batch, as a loss sees them; each [N].

    Attributes:
        logprobs: The learner's, with gradient.
        sampled_logprobs: What the tokens were sampled with.
        advantages: Of each token's episode.
        entropy: Of the learner's distribution at each token, in nats.
        ref_logprobs: The reference model's, where there is one.
    """

    logprobs: Tensor
    sampled_logprobs: Tensor
    advantages: Tensor
    entropy: Tensor
    ref_logprobs: Tensor | None


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


T = TypeVar("T")
TokenLossFunction = Callable[[LossTokens], TokenLoss]


class Learner:
    """A policy with its optimizer and, if wanted, a frozen copy of its first weights to stay close to.

    Args:
        policy: What is trained, in place.
        settings: The optimizer.
        temperature: What sampling divides the logits by.
        micro_batch_tokens: The most tokens, padding included, that are differentiated at once: more is faster until
            memory runs out, and the gradient is the same.
        num_workers: Python threads that differentiate micro-batches side by side, each with gradients of its own. For
            small models on a CPU; the gradient is the same, to the last bit.
        keep_reference: Whether to keep the frozen copy.
        entropy_gradient: Whether losses may use the entropy's gradient.
    """

    def __init__(
        self,
        policy: Policy,
        settings: OptimizerSettings,
        *,
        temperature: float = 1.0,
        micro_batch_tokens: int = 16_384,
        num_workers: int = 1,
        keep_reference: bool = False,
        entropy_gradient: bool = False,
    ) -> None:
        self.policy = policy
        self.settings = settings
        self.optimizer = make_optimizer(policy.model.parameters(), settings)
        self._temperature = temperature
        self._micro_batch_tokens = micro_batch_tokens
        self._num_workers = num_workers
        self._entropy_gradient = entropy_gradient
        self._parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
        self._reference: Policy | None = None
        if keep_reference:
            frozen = copy.deepcopy(policy.model).requires_grad_(False)
            self._reference = Policy(frozen, policy.tokenizer, use_chat_template=policy.codec.use_chat_template)

    @torch.no_grad()
    def with_reference(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples with the reference model's log-probs of the policy's tokens."""
        assert self._reference is not None, "the learner was made without a reference"
        done: dict[int, Example] = {}
        for part in self._micro_batches(examples):
            batch = collate([examples[index].trajectory for index in part])
            logprobs = self._reference.token_logprobs(batch, temperature=self._temperature).logprobs.cpu()
            rows = batch.flat_rows()
            for row, index in enumerate(part):
                example = examples[index]
                done[index] = Example(example.trajectory, example.advantage, logprobs[rows == row])
        return [done[index] for index in range(len(examples))]

    def accumulate(
        self, examples: Sequence[Example], loss_function: TokenLossFunction, aggregation: Aggregation
    ) -> dict[str, float]:
        """Add the gradient of the whole batch's loss to the parameters, micro-batch by micro-batch.

        Every token weighs what it weighs in the whole batch, so the split changes nothing but rounding.

        Returns:
            `loss` and the means and maxima that the loss function named, over all policy tokens.
        """
        lengths = torch.tensor([example.trajectory.num_policy_tokens for example in examples])
        weights = token_weights(lengths, aggregation)
        totals, maxima = {"loss": 0.0}, dict[str, float]()

        def differentiate(part: list[int]) -> tuple[Tensor, TokenLoss, tuple[Tensor | None, ...]]:
            batch = collate([examples[index].trajectory for index in part])
            result = loss_function(self._loss_tokens([examples[index] for index in part], batch))
            loss = (result.loss * weights[part][batch.flat_rows()].to(result.loss.device)).sum()
            if self._num_workers == 1:  # in place, which takes no second set of gradients and suits sharded models
                loss.backward()  # type: ignore[no-untyped-call]
                return loss.detach(), result, ()
            return loss.detach(), result, torch.autograd.grad(loss, self._parameters, allow_unused=True)

        for loss, result, gradients in self._map(differentiate, self._micro_batches(examples)):
            for parameter, gradient in zip(self._parameters, gradients, strict=False):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            totals["loss"] += float(loss)
            for name, values in result.means.items():
                totals[name] = totals.get(name, 0.0) + float(values.sum())
            for name, values in result.maxima.items():
                maxima[name] = max(maxima.get(name, -torch.inf), float(values.max()))
        loss_value, num_tokens = totals.pop("loss"), max(int(lengths.sum()), 1)
        return {"loss": loss_value, **{name: total / num_tokens for name, total in totals.items()}, **maxima}

    def update(
        self,
        examples: Sequence[Example],
        loss_function: TokenLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """One optimizer step on these examples.

        Returns:
            What `accumulate` gives, and `grad_norm`.

        Raises:
            NonFiniteError: The loss or the gradient isn't finite; the weights are as before.
        """
        metrics = self.accumulate(examples, loss_function, aggregation)
        norm = apply_gradients(self.optimizer, self.settings, loss=metrics["loss"], learning_rate=learning_rate)
        return {**metrics, "grad_norm": norm}

    def _map(self, function: Callable[[list[int]], T], parts: list[list[int]]) -> Iterator[T]:
        """The function of each part, in order; side by side where there are workers."""
        if self._num_workers == 1:
            yield from map(function, parts)
            return
        with ThreadPoolExecutor(self._num_workers, thread_name_prefix="learner-worker") as workers:
            yield from workers.map(function, parts)

    def _micro_batches(self, examples: Sequence[Example]) -> list[list[int]]:
        return split_by_tokens([example.trajectory.num_tokens for example in examples], self._micro_batch_tokens)

    def _loss_tokens(self, examples: Sequence[Example], batch: TokenBatch) -> LossTokens:
        computed = self.policy.token_logprobs(
            batch, temperature=self._temperature, entropy_gradient=self._entropy_gradient
        )
        device = computed.logprobs.device
        references = [example.ref_logprobs for example in examples if example.ref_logprobs is not None]
        return LossTokens(
            logprobs=computed.logprobs,
            sampled_logprobs=batch.flat_sampled_logprobs().to(device),
            advantages=torch.tensor([example.advantage for example in examples])[batch.flat_rows()].to(device),
            entropy=computed.entropy,
            ref_logprobs=torch.cat(references).to(device) if references else None,
        )
