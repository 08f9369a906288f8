"""Memory, counted in bytes: what lies there all the time, and what comes and goes with rollouts and updates.

Symbols as in `shapes`; N policy tokens of a micro-batch. What the learner keeps was read off the tensors that autograd
saves, and a test holds these formulas to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agents.plan.hardware import Hardware
from agents.plan.settings import Assumptions, Precision, RunShape
from agents.plan.shapes import ModelShape

__all__ = [
    "Item",
    "MemoryPlan",
    "activation_bytes",
    "cache_bytes_per_token",
    "logits_bytes",
    "lora_parameters",
    "optimizer_bytes",
    "plan_memory",
    "trained_parameters",
]

GB = 1e9

Phase = Literal["always", "rollout", "update"]

LOGIT_COPIES = 4
"""[N, V] tensors of float32 at the height of a loss: the logits, and three while softmax or its gradient is at work."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that takes memory.

    Attributes:
        name: What it is.
        phase: When it is there.
        num_bytes: On each device.
    """

    name: str
    phase: Phase
    num_bytes: float


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What a run takes, on each of its devices.

    Attributes:
        items: What takes it.
        margin: The share of it that goes lost between allocations.
        available: Bytes that there are.
    """

    items: tuple[Item, ...]
    margin: float
    available: float

    def peak(self, phase: Phase) -> float:
        """Bytes at the height of a phase, with what is there always and the margin."""
        counted = sum(item.num_bytes for item in self.items if item.phase in ("always", phase))
        return counted * (1 + self.margin)

    @property
    def most(self) -> float:
        """Bytes at the height of the run."""
        return max(self.peak("rollout"), self.peak("update"))

    @property
    def fits(self) -> bool:
        """Whether there is as much."""
        return self.most <= self.available


def lora_parameters(shape: ModelShape, rank: int) -> int:
    """Weights of adapters on every matrix inside the layers: rank × (rows + columns) each (arXiv 2106.09685).

    Examples:
        >>> from agents.plan.shapes import SHAPES
        >>> lora_parameters(SHAPES["qwen2.5-3b"], 32)
        59867136
    """
    return sum(rank * (rows + columns) for rows, columns in shape.matrices if columns != shape.conv_kernel)


def trained_parameters(shape: ModelShape, lora_rank: int) -> int:
    """Weights that have a gradient."""
    return lora_parameters(shape, lora_rank) if lora_rank else shape.num_parameters


def optimizer_bytes(shape: ModelShape, run: RunShape, parameters: float) -> float:
    """The optimizer's state for so many weights, without a float32 copy of them.

    - adamw: two moments in float32.
    - adamw_8bit: two moments of a byte, and a float32 scale for every 256 of each (arXiv 2110.02861).
    - adafactor: without momentum, a row and a column of means for each matrix (arXiv 1804.04235).
    """
    if run.optimizer == "adamw":
        return 8.0 * parameters
    if run.optimizer == "adamw_8bit":
        return 2.0 * parameters * (1 + 4 / 256)
    if run.lora_rank:
        return 4.0 * sum(rows + columns + 2 * run.lora_rank for rows, columns in shape.matrices)
    return 4.0 * (sum(rows + columns for rows, columns in shape.matrices) + shape.vocabulary + shape.hidden)


def activation_bytes(shape: ModelShape, precision: Precision, tokens: float, *, checkpointing: bool = False) -> float:
    """What autograd keeps of so many tokens' way through the trunk, attention computed in blocks (SDPA).

    A norm keeps its input in float32, itself before the scale, and what it gives; attention the rotated queries and
    keys, the values, what it gives, and a sum for each head; the feed-forward layer its gate before and after SiLU, its
    other input, and their product. With checkpointing, of each layer its input, and of one layer all of that.

    Args:
        shape: Whose trunk.
        precision: Of weights, and so of activations.
        tokens: Of a micro-batch, padding included.
        checkpointing: Whether layers are computed again in the backward pass.
    """
    size = precision.weight
    norms = 2 * (shape.hidden * (4 + 2 * size) + 4)
    feed_forward = 4 * shape.intermediate * size
    attention = 2 * (shape.query_width + shape.key_width) * size + 4 * shape.num_heads
    if shape.qk_norm:
        attention += (shape.query_width + shape.key_width) * (4 + size) + 4 * (shape.num_heads + shape.num_kv_heads)
    convolution = 6 * shape.hidden * size
    last_norm = shape.hidden * (4 + size) + 4
    kinds = ((shape.num_attention_layers, attention), (shape.num_conv_layers, convolution))
    if checkpointing:
        widest = max(kind for count, kind in kinds if count)
        per_token = shape.num_layers * shape.hidden * size + norms + feed_forward + widest + last_norm
    else:
        per_token = sum(count * (norms + feed_forward + kind) for count, kind in kinds) + last_norm
    return tokens * per_token


def logits_bytes(shape: ModelShape, precision: Precision, policy_tokens: float) -> float:
    """The height of the loss over so many policy tokens: float32 logits and what softmax needs beside them.

    Weights of 16 bits give logits of 16 bits, which are copied.
    """
    copies = LOGIT_COPIES * 4 + (precision.weight if precision.weight < 4 else 0)
    return policy_tokens * shape.vocabulary * copies


def cache_bytes_per_token(shape: ModelShape, precision: Precision) -> int:
    """Keys and values of a token in all layers that attend.

    Examples:
        >>> from agents.plan.shapes import SHAPES
        >>> cache_bytes_per_token(SHAPES["qwen2.5-3b"], Precision.of("bfloat16"))
        36864
    """
    return 2 * shape.num_attention_layers * shape.key_width * precision.weight


def plan_memory(shape: ModelShape, run: RunShape, hardware: Hardware, assumptions: Assumptions) -> MemoryPlan:
    """What lies on each device, by phase.

    On several devices, weights, gradients and states are shared out among them (as PyTorch's FSDP2 does), and each has
    micro-batches and a sampler of its own.
    """
    parts, precision = hardware.num_devices, run.precision
    parameters, trained = shape.num_parameters, trained_parameters(shape, run.lora_rank)
    adapters = trained if run.lora_rank else 0
    # Adapters are small, and are kept in float32.
    kept = Precision() if run.lora_rank else precision
    items = [
        Item("weights", "always", (parameters * precision.weight + adapters * kept.weight) / parts),
        Item("float32 copy of the weights", "always", 0 if run.lora_rank else trained * precision.master / parts),
        Item(f"optimizer state ({run.optimizer})", "always", optimizer_bytes(shape, run, trained) / parts),
    ]
    if run.has_reference and not run.lora_rank:
        items.append(Item("reference model", "always", parameters * precision.weight / parts))
    gradients = trained * kept.gradient / parts
    if run.has_critic:
        trunk = shape.trunk_parameters
        full = optimizer_bytes(shape, replace(run, lora_rank=0), trunk) + trunk * (precision.weight + precision.master)
        items.append(Item("critic and its optimizer", "always", full / parts))
        # Critic and policy are updated one after the other, so there is one set of gradients: the larger.
        gradients = max(gradients, trunk * precision.gradient / parts)
    items += _of_the_rollout(shape, run, hardware)
    # A second worker differentiates into gradients of its own, which are then added.
    sets = 1 if run.workers == 1 else 1 + run.workers
    items.append(Item("gradients", "update", gradients * sets))
    activations = activation_bytes(shape, precision, run.tokens_at_once, checkpointing=run.gradient_checkpointing)
    items.append(Item("activations of a micro-batch", "update", activations * run.workers))
    items.append(Item("logits, or gradients on their way", "update", _passing(shape, run) * run.workers))
    items.append(Item("Python, torch, context", "always", assumptions.runtime_gb * GB))
    items.append(Item("simulator on the same device", "always", assumptions.simulator_gb * GB))
    shown = tuple(item for item in items if item.num_bytes)
    return MemoryPlan(shown, margin=assumptions.margin, available=hardware.memory_gb * GB)


def _passing(shape: ModelShape, run: RunShape) -> float:
    """What comes and goes within a backward pass: the loss, or the gradient of the head, or of a layer."""
    precision, policy_tokens = run.precision, run.logit_tokens_at_once
    head = 2 * policy_tokens * shape.vocabulary * 4
    if not run.lora_rank:
        head += shape.embedding_parameters * precision.gradient
    layer = 3 * run.tokens_at_once * shape.intermediate * precision.weight
    return max(logits_bytes(shape, precision, policy_tokens), head, layer)


def _of_the_rollout(shape: ModelShape, run: RunShape, hardware: Hardware) -> Sequence[Item]:
    """The sampler's cache, and what its passes hold."""
    precision, size = run.precision, run.precision.weight
    longest = run.prompt_before(round(run.num_actions) - 1) + run.max_new_tokens
    longest = min(longest, run.max_episode_tokens)
    per_device = max(run.num_episodes, 1) / hardware.num_devices
    rows = min(max(run.max_batch_tokens // longest, 1) * run.workers, max(per_device, 1))
    tokens, per_token = rows * longest, cache_bytes_per_token(shape, precision)
    if run.sampler == "vllm":
        # An engine of its own: a second copy of the weights, which stays while the learner works.
        return (
            Item("sampler's weights", "always", shape.num_parameters * min(size, 2)),
            Item("sampler's cache", "always", per_device * longest * per_token * min(size, 2) / size),
        )
    # A prompt is encoded whole: the widest layer of it, the mask of what is padding, the logits of one place a row.
    prompt = tokens - rows * run.max_new_tokens
    layer = prompt * (3 * shape.intermediate + 4 * shape.hidden + 2 * (shape.query_width + shape.key_width)) * size
    mask = prompt * (longest - run.max_new_tokens) * (1 + size) if rows > 1 else 0
    items = [Item("sampler's cache", "rollout", tokens * per_token)]
    items.append(Item("sampler's passes", "rollout", layer + mask + 3 * rows * shape.vocabulary * 4))
    if hardware.num_devices > 1:
        # Sharded weights are gathered to be sampled from.
        whole = shape.num_parameters * size * (1 - 1 / hardware.num_devices)
        items.append(Item("gathered weights of the sampler", "rollout", whole))
    return items
