"""What changes the policy's weights: log-probs, a loss over its own tokens, micro-batches, one optimizer step.

Shapes: N policy tokens of a micro-batch, laid end to end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.accumulation import Accumulator, Example, TokenLoss
from agents.batches import Batch, Batching
from agents.lora import LoraPolicy
from agents.losses import Aggregation
from agents.optimization import OptimizerSettings, TrainedParameters
from agents.policy import Policy, TokenLogprobs
from agents.recompute import Recompute

__all__ = ["Example", "Learner", "LossTokens", "TokenLoss", "TokenLossFunction", "frozen_copy", "reference_of"]


@dataclass(frozen=True, slots=True)
class LossTokens:
    """The policy tokens of a micro-batch, as a loss sees them; each [N].

    Attributes:
        logprobs: The learner's, with gradient.
        sampled_logprobs: What the tokens were sampled with.
        advantages: Of each token.
        entropy: Of the learner's distribution at each token, in nats.
        ref_logprobs: The reference model's, where there is one.
        old_logprobs: The learner's before the step's first update, where they were asked for.
        rows: Which episode of the micro-batch each token is of; each episode is there with all its policy tokens.
    """

    logprobs: Tensor
    sampled_logprobs: Tensor
    advantages: Tensor
    entropy: Tensor
    ref_logprobs: Tensor | None
    old_logprobs: Tensor | None = None
    rows: Tensor | None = None


TokenLossFunction = Callable[[LossTokens], TokenLoss]


class Learner:
    """A policy with its optimizer and, if wanted, a frozen copy of its first weights to stay close to.

    Args:
        policy: What is trained, in place.
        settings: The optimizer.
        temperature: What sampling divides the logits by.
        batching: See `Accumulator`; padded micro-batches of 16,384 tokens if left out.
        num_workers: See `Accumulator`.
        reference: The policy to stay close to; nothing of it is trained. See `reference_of`.
        entropy_gradient: Whether losses may use the entropy's gradient.
        recompute: Whether the backward pass makes each layer's activations again instead of keeping them.
    """

    def __init__(
        self,
        policy: Policy,
        settings: OptimizerSettings,
        *,
        temperature: float = 1.0,
        batching: Batching | None = None,
        num_workers: int = 1,
        reference: Policy | None = None,
        entropy_gradient: bool = False,
        recompute: bool = False,
    ) -> None:
        self.policy = policy
        self.parameters = TrainedParameters(policy.model.parameters(), settings)
        self._temperature = temperature
        self._entropy_gradient = entropy_gradient
        self._recompute: AbstractContextManager[object] = Recompute(policy.model) if recompute else nullcontext()
        self._accumulator = Accumulator(
            self.parameters, batching=batching or Batching(max_tokens=16_384), num_workers=num_workers
        )
        self._reference = reference

    def with_reference(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples with the reference model's log-probs of the policy's tokens."""
        assert self._reference is not None, "the learner was made without a reference"
        return self._with_logprobs(examples, self._reference, "ref_logprobs")

    def with_old_logprobs(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples with the policy's own log-probs of its tokens, by the weights as they are now."""
        return self._with_logprobs(examples, self.policy, "old_logprobs")

    def _with_logprobs(self, examples: Sequence[Example], policy: Policy, name: str) -> list[Example]:
        found = self._accumulator.infer(
            examples, lambda batch: policy.token_logprobs(batch, temperature=self._temperature).logprobs
        )
        return [example.with_(**{name: logprobs}) for example, logprobs in zip(examples, found, strict=True)]

    def accumulate(
        self, examples: Sequence[Example], loss_function: TokenLossFunction, aggregation: Aggregation
    ) -> dict[str, float]:
        """Add the gradient of the whole batch's loss to the parameters; see `Accumulator.accumulate`."""
        return self._accumulator.accumulate(
            examples, lambda part, batch: loss_function(self.loss_tokens(part, batch)), aggregation
        )

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
        try:
            metrics = self.accumulate(examples, loss_function, aggregation)
        except BaseException:
            self.parameters.zero_grad()  # who tries again begins with none
            raise
        norm = self.parameters.step(loss=metrics["loss"], learning_rate=learning_rate)
        return {**metrics, "grad_norm": norm}

    def state_dict(self) -> dict[str, Any]:
        """What goes on from here, beside the policy's own weights; see `TrainedParameters.state_dict`."""
        return self.parameters.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.parameters.load_state_dict(state)

    def compute(self, batch: Batch) -> TokenLogprobs:
        """The policy's log-probs of a micro-batch, to be differentiated."""
        with self._recompute:
            return self.policy.token_logprobs(
                batch, temperature=self._temperature, entropy_gradient=self._entropy_gradient
            )

    def loss_tokens(self, examples: Sequence[Example], batch: Batch) -> LossTokens:
        """What a loss sees of a micro-batch: `batch` is these examples, collated."""
        computed = self.compute(batch)
        device = computed.logprobs.device
        references = [example.ref_logprobs for example in examples if example.ref_logprobs is not None]
        before = [example.old_logprobs for example in examples if example.old_logprobs is not None]
        return LossTokens(
            logprobs=computed.logprobs,
            sampled_logprobs=batch.flat_sampled_logprobs().to(device),
            advantages=torch.cat([example.advantages for example in examples]).to(device),  # type: ignore[misc]
            entropy=computed.entropy,
            ref_logprobs=torch.cat(references).to(device) if references else None,
            old_logprobs=torch.cat(before).to(device) if before else None,
            rows=batch.flat_rows().to(device),
        )


def frozen_copy(policy: Policy) -> Policy:
    """A copy whose weights stay as they are."""
    frozen = copy.deepcopy(policy.model).requires_grad_(False)
    return Policy(frozen, policy.tokenizer, use_chat_template=policy.codec.use_chat_template)


def reference_of(policy: Policy) -> Policy:
    """What a policy is before it is trained: a frozen copy, or with LoRA the same model without its adapters."""
    return policy.reference() if isinstance(policy, LoraPolicy) else frozen_copy(policy)
