"""Policies and critics whose weights lie in parts on all learners of a group.

FSDP2 (`fully_shard`) gathers a layer's weights when the layer is computed, and lets go of them after it. The layers
that transformers can checkpoint are gathered each on its own; embeddings, head and norms together, for the whole pass.
So whatever reads the head's weights must do so within the forward pass of a module that holds all of it, and that is
what is here.

A shard is the float32 master of a weight. Weights that came in bfloat16 are rounded to it as they are gathered, and
their gradients are added up in float32, as without shards.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from agents.batches import Batch, TokenBatch
from agents.critic import Critic
from agents.errors import ModelError
from agents.lora import LoraPolicy
from agents.policy import Policy, TokenLogprobs

__all__ = ["ShardedCritic", "ShardedPolicy", "ShardedReference", "device_of", "release"]

Module = TypeVar("Module", bound=torch.nn.Module)


class ShardedPolicy(Policy):
    """A policy for its log-probs alone, sharded.

    Args:
        policy: A whole one, which stays as it is: its weights are read and never written.
        mesh: The learners; see `group.join`.
        trained: Whether anything of it is trained.
    """

    def __init__(self, policy: Policy, mesh: DeviceMesh, *, trained: bool = True) -> None:
        # Not Policy's own: it tries out what the model can do, and that is known.
        self.whole = copy.copy(policy)
        self.whole.model = _alias(policy.model)
        if not trained:
            self.whole.model.requires_grad_(False)
        self.model, self.tokenizer, self.codec = self.whole.model, policy.tokenizer, policy.codec
        self.plain_head, self.unpackable = policy.plain_head, policy.unpackable
        self.root = _PolicyRoot(self.whole)
        _shard(self.root, mesh)

    def token_logprobs(
        self, batch: Batch, *, temperature: float = 1.0, entropy_gradient: bool = False
    ) -> TokenLogprobs:
        """See `Policy.token_logprobs`; all learners call it together."""
        return TokenLogprobs(*self.root(_wide_enough(batch), temperature, entropy_gradient))


class ShardedReference:
    """What a sharded policy was before training.

    With LoRA that is the policy without its adapters; else a frozen copy, sharded as well.

    Args:
        policy: The whole policy, before training.
        sharded: The same, sharded.
        mesh: The learners.
    """

    def __init__(self, policy: Policy, sharded: ShardedPolicy, mesh: DeviceMesh) -> None:
        self._adapted = sharded.whole if isinstance(sharded.whole, LoraPolicy) else None
        self._policy = sharded if self._adapted else ShardedPolicy(policy, mesh, trained=False)
        self.root = self._policy.root

    def token_logprobs(self, batch: Batch, *, temperature: float = 1.0) -> TokenLogprobs:
        """See `ShardedPolicy.token_logprobs`."""
        if self._adapted is None:
            return self._policy.token_logprobs(batch, temperature=temperature)
        with self._adapted.without_adapters():
            return self._policy.token_logprobs(batch, temperature=temperature)


class _PolicyRoot(torch.nn.Module):
    """Log-probs as a forward pass, which is when weights are there."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.model = policy.model
        self._policy = policy

    def forward(self, batch: Batch, temperature: float, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
        found = self._policy.token_logprobs(batch, temperature=temperature, entropy_gradient=entropy_gradient)
        return found.logprobs, found.entropy


class ShardedCritic(Critic):
    """A critic of a policy's trunk, sharded.

    Args:
        policy: A whole one, which stays as it is. With LoRA, too, the critic has shards of its own of what is frozen.
        mesh: The learners.
    """

    def __init__(self, policy: Policy, mesh: DeviceMesh) -> None:
        super().__init__(policy)
        _shard(self, mesh, self.head)

    @staticmethod
    def _copied(base: Any) -> Any:
        return _alias(base)

    def token_values(self, batch: Batch) -> Tensor:
        """See `Critic.token_values`; all learners call it together."""
        values: Tensor = self(_wide_enough(batch))
        return values

    def forward(self, batch: Batch) -> Tensor:
        """Values as a forward pass, which is when weights are there."""
        return super().token_values(batch).clone()  # FSDP's hook on a view would be lost by an operation in place


def release(module: torch.nn.Module) -> None:
    """Let go of whole weights that a pass without a backward pass left behind: what is there then are the shards."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def device_of(mesh: DeviceMesh) -> torch.device:
    """What this process computes on."""
    if mesh.device_type == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(mesh.device_type)


def _alias(module: Module) -> Module:
    """The same module of parts of its own, whose parameters read the memory of the original's."""
    parameters = list(module.parameters())
    return copy.deepcopy(
        module, {id(one): torch.nn.Parameter(one.detach(), requires_grad=one.requires_grad) for one in parameters}
    )


def _shard(root: torch.nn.Module, mesh: DeviceMesh, *apart: torch.nn.Module) -> None:
    """Shard a module layer by layer, so that only one layer at a time is whole on the device.

    Args:
        root: What is computed as a whole.
        mesh: The learners.
        apart: What else is gathered on its own: because its type is another.
    """
    layers = [part for part in root.modules() if isinstance(part, GradientCheckpointingLayer)]
    for module in (*reversed(layers), *apart, root):
        own = [one for one in module.parameters() if not isinstance(one, DTensor)]
        types = {one.dtype for one in own if one.requires_grad}
        if len(types) > 1:
            raise ModelError(
                f"Weights of several types ({', '.join(sorted(map(str, types)))}) in one {type(module).__name__} can't "
                "be sharded: load the model in one type (--dtype)."
            )
        for one in own:
            one.data = one.data.to(device_of(mesh), torch.float32 if one.requires_grad else None).contiguous()
        lower = next(iter(types - {torch.float32}), None)
        precision = MixedPrecisionPolicy(
            param_dtype=lower, reduce_dtype=torch.float32 if lower else None, cast_forward_inputs=False
        )
        sharded = fully_shard(module, mesh=mesh, mp_policy=precision)
        # Each token has its weight in the whole batch's loss, so gradients are summed and not averaged.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


def _wide_enough(batch: Batch) -> Batch:
    """A batch that the layers are computed for: episodes of a single token would skip them, and others wait there."""
    if not isinstance(batch, TokenBatch) or batch.ids.shape[1] > 1:
        return batch
    return TokenBatch(*(torch.cat((one, torch.zeros_like(one)), 1) for one in _columns(batch)))


def _columns(batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.ids, batch.policy_mask, batch.sampled_logprobs
