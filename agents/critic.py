"""A critic: what return to expect before each token that the policy is about to write.

Shapes: B episodes, T tokens of the longest, N policy tokens of a micro-batch laid end to end, H hidden width.
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
from agents.errors import ModelError
from agents.losses import Aggregation
from agents.optimization import OptimizerSettings, TrainedParameters
from agents.packed import PackedBatch
from agents.packed.support import packed_hidden_states
from agents.policy import Policy
from agents.recompute import Recompute

__all__ = ["Critic", "CriticLearner", "ValueLossFunction", "ValueTokens"]


class Critic(torch.nn.Module):
    """A copy of a policy's trunk with a head of one number, which begins at 0.

    A trunk of its own, as in ZeroSearch: the value's gradient moves nothing of the policy. What is frozen of the policy
    (with LoRA, all but the adapters) is no copy but shared.

    Args:
        policy: Whose trunk is copied.

    Raises:
        ModelError: The model doesn't give its last hidden states.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        base, head = getattr(policy.model, "base_model", None), policy.model.get_output_embeddings()
        if base is None or base is policy.model or head is None:
            raise ModelError(
                f"{type(policy.model).__name__} has no trunk apart from its head that a critic could copy: train it "
                "with grpo or reinforce, which have no critic."
            )
        self.trunk = self._copied(base).eval()
        self.head = torch.nn.Linear(head.weight.shape[1], 1).to(device=policy.device, dtype=torch.float32)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    @staticmethod
    def _copied(base: Any) -> Any:
        return copy.deepcopy(base, {id(part): part for part in base.parameters() if not part.requires_grad})

    def token_values(self, batch: Batch) -> Tensor:
        """[N]: for each policy token, the return expected having read all tokens before it and not the token itself."""
        device = self.head.weight.device
        if isinstance(batch, PackedBatch):
            row = packed_hidden_states(self.trunk, batch.ids.to(device), batch.layout)  # [T, H]
            found: Tensor = self.head(row[batch.places.to(device)].float()).squeeze(-1)
            return found
        before = batch.policy_mask[:, 1:].to(device)  # [B, T - 1]: the places whose next token is the policy's
        hidden = self.trunk(input_ids=batch.ids[:, :-1].to(device), use_cache=False).last_hidden_state  # [B, T - 1, H]
        values: Tensor = self.head(hidden[before].float()).squeeze(-1)
        return values


@dataclass(frozen=True, slots=True)
class ValueTokens:
    """The policy tokens of a micro-batch, as a critic's loss sees them; each [N].

    Attributes:
        values: The critic's now, with gradient.
        old_values: The critic's before this step's updates.
        returns: What it should have said.
    """

    values: Tensor
    old_values: Tensor
    returns: Tensor


ValueLossFunction = Callable[[ValueTokens], TokenLoss]


class CriticLearner:
    """A critic with its optimizer.

    Args:
        critic: What is trained, in place.
        settings: The optimizer.
        batching: See `Learner`.
        num_workers: See `Accumulator`.
        recompute: See `Learner`.
    """

    def __init__(
        self,
        critic: Critic,
        settings: OptimizerSettings,
        *,
        batching: Batching | None = None,
        num_workers: int = 1,
        recompute: bool = False,
    ) -> None:
        self.critic = critic
        self.parameters = TrainedParameters(critic.parameters(), settings)
        self._recompute: AbstractContextManager[object] = Recompute(critic.trunk) if recompute else nullcontext()
        self._accumulator = Accumulator(
            self.parameters, batching=batching or Batching(max_tokens=16_384), num_workers=num_workers
        )

    def with_values(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples with the critic's values."""
        found = self._accumulator.infer(examples, self.critic.token_values)
        return [example.with_(values=values) for example, values in zip(examples, found, strict=True)]

    def update(
        self,
        examples: Sequence[Example],
        loss_function: ValueLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """One optimizer step on these examples.

        Returns:
            `loss`, what the loss named, and `grad_norm`.

        Raises:
            NonFiniteError: The loss or the gradient isn't finite; the weights are as before.
        """
        try:
            metrics = self._accumulator.accumulate(
                examples, lambda part, batch: loss_function(self.value_tokens(part, batch)), aggregation
            )
        except BaseException:
            self.parameters.zero_grad()  # who tries again begins with none
            raise
        norm = self.parameters.step(loss=metrics["loss"], learning_rate=learning_rate)
        return {**metrics, "grad_norm": norm}

    def state_dict(self) -> dict[str, Any]:
        """Weights that are trained, and optimizer."""
        trained = {name: part.detach() for name, part in self._trained().items()}
        return {"critic": trained, **self.parameters.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        found = self.critic.load_state_dict(state["critic"], strict=False)
        assert not found.unexpected_keys
        assert not self._trained().keys() & set(found.missing_keys)
        self.parameters.load_state_dict(state)

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: part for name, part in self.critic.named_parameters() if part.requires_grad}

    def compute(self, batch: Batch) -> Tensor:
        """The critic's values of a micro-batch, to be differentiated."""
        with self._recompute:
            return self.critic.token_values(batch)

    def value_tokens(self, examples: Sequence[Example], batch: Batch) -> ValueTokens:
        """What a loss sees of a micro-batch: `batch` is these examples, collated."""
        values = self.compute(batch)
        old = torch.cat([example.values for example in examples])  # type: ignore[misc]
        returns = torch.cat([example.returns for example in examples])  # type: ignore[misc]
        return ValueTokens(values, old.to(values.device), returns.to(values.device))
