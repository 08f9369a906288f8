"""Memory, counted in bytes: what lies there all the time, and what comes and goes with rollouts and updates.

Symbols as in `shapes`; N policy tokens of a micro-batch. What the learner keeps was read off the tensors that autograd
saves, and a test holds these formulas to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agents.plan.hardware import Hardware
from agents.plan.layout import LearnerLayout, keeps_cache
from agents.plan.settings import Assumptions, Precision, RunShape
from agents.plan.shapes import ModelShape

__all__ = [
    "Item",
    "MemoryPlan",
    "activation_bytes",
    "cache_bytes_per_token",
    "head_bytes",
    "layer_bytes",
    "logits_bytes",
    "lora_parameters",
    "optimizer_bytes",
    "plan_memory",
    "trained_parameters",
]

GB = 1e9

Phase = Literal["always", "rollout", "update", "step", "update, step"]
"""When something is there: always, while episodes are played, while losses are differentiated, while weights move."""

Kernel = Literal["sdpa", "blockwise", "segments"]
"""What computes attention: torch's, on what is padded; our own, on what is packed, on a CPU; or torch's, one packed run
at a time, which is taken for GPUs (FlashAttention-2, where it is installed, needs less)."""

LOGIT_COPIES = 4
"""[N, V] tensors of float32 at the height of a loss: the logits, and three while softmax or its gradient is at work."""

SMALL_VOCABULARY = 4096
"""Up to here whole logits are computed of what is padded; see `agents.policy`."""

BLOCK_ENTRIES, BLOCK_TOKENS = 4096, 512
GPU_BLOCK = 16_384, 2048
"""Of a block of logits; see `agents.head`."""


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
        counted = sum(item.num_bytes for item in self.items if item.phase == "always" or phase in item.phase)
        return counted * (1 + self.margin)

    @property
    def most(self) -> float:
        """Bytes at the height of the run."""
        return max(self.peak("rollout"), self.peak("update"), self.peak("step"))

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
    - adafactor: without momentum, a row and a column of means for each matrix (arXiv 1804.04235), and of vectors all.
    """
    if run.optimizer == "adamw":
        return 8.0 * parameters
    if run.lora_rank:
        return 4.0 * sum(rows + columns + 2 * run.lora_rank for rows, columns in shape.matrices)
    embeddings = 1 if shape.tied else 2
    vectors = shape.num_parameters - shape.layer_parameters - embeddings * shape.embedding_parameters
    sides = sum(rows + columns for rows, columns in shape.matrices) + embeddings * (shape.vocabulary + shape.hidden)
    return 4.0 * (sides + vectors)


def activation_bytes(
    shape: ModelShape,
    precision: Precision,
    tokens: float,
    *,
    kernel: Kernel = "sdpa",
    keys_seen: float = 0,
    keys_per_token: float = 1,
    lora_rank: int = 0,
    checkpointing: bool = False,
) -> float:
    """What autograd keeps of so many tokens' way through the trunk: `layer_bytes` of each layer.

    With checkpointing it is the input of each layer, and one layer's whole comes and goes in the backward pass.

    Args:
        shape: Whose trunk.
        precision: Of weights, and so of activations.
        tokens: Of a micro-batch, padding included.
        kernel: What computes attention.
        keys_seen: Tokens that the longest run looks at: its mask is as wide. Of "segments" alone.
        keys_per_token: Keys laid down for each token. Of "segments" alone.
        lora_rank: Of adapters; 0 where the weights are trained.
        checkpointing: Whether layers are computed again in the backward pass.
    """
    size = precision.weight
    last_norm = 0 if lora_rank else shape.hidden * (4 + size) + 4  # frozen, the first norm keeps as much less
    if checkpointing:
        return tokens * (shape.num_layers * shape.hidden * size + last_norm)
    options = {"keys_seen": keys_seen, "keys_per_token": keys_per_token, "lora_rank": lora_rank}
    layers = [
        count * layer_bytes(shape, precision, tokens, kernel=kernel, convolution=kind, **options)  # type: ignore[arg-type]
        for count, kind in ((shape.num_attention_layers, False), (shape.num_conv_layers, True))
    ]
    return sum(layers) + tokens * last_norm


def layer_bytes(
    shape: ModelShape,
    precision: Precision,
    tokens: float,
    *,
    kernel: Kernel = "sdpa",
    keys_seen: float = 0,
    keys_per_token: float = 1,
    lora_rank: int = 0,
    convolution: bool = False,
) -> float:
    """What autograd keeps of one layer; see `activation_bytes` for the arguments, attention computed in blocks.

    A norm keeps its input in float32, itself before the scale, and what it gives; attention the rotated queries and
    keys, the values, what it gives (twice, where it is packed), and a sum for each head; the feed-forward layer its
    gate before and after SiLU, its other input, and their product. Where weights are frozen (LoRA) a product's input is
    kept for its adapter alone, in float32, which is a copy if the weights are bfloat16; and so is what the adapter's
    first half gives.
    """
    size, query, key = precision.weight, shape.query_width, shape.key_width
    norms = 2 * (shape.hidden * (4 + 2 * size) + 4)
    feed_forward = 4 * shape.intermediate * size
    attention: float = 2 * (query + key) * size + 4 * shape.num_heads
    if kernel == "blockwise":
        attention = (3 * query + 2 * key) * size
    elif kernel == "segments":  # keys are laid out for all query heads, and a mask for each run
        attention = query * (3 + 2 * keys_per_token) * size + keys_seen * size + 4 * shape.num_heads
    if shape.qk_norm:
        attention += (query + key) * (4 + size) + 4 * (shape.num_heads + shape.num_kv_heads)
    mixing: float = 6 * shape.hidden * size if convolution else attention
    if lora_rank:
        norms -= 2 * shape.hidden * size
        mixing += (5 if convolution else 7) * 4 * lora_rank
        if size < 4:
            inputs = 2 * shape.hidden if convolution else 3 * shape.hidden + query
            mixing += 4 * (inputs + 2 * shape.hidden + shape.intermediate)
            mixing -= size * (2 * shape.hidden + shape.intermediate + (query if kernel != "sdpa" else 0))
    return tokens * (norms + feed_forward + mixing)


def logits_bytes(shape: ModelShape, policy_tokens: float) -> float:
    """The height of a loss over whole logits: float32 logits of so many policy tokens and what softmax needs beside."""
    return policy_tokens * shape.vocabulary * LOGIT_COPIES * 4


def head_bytes(
    shape: ModelShape, precision: Precision, policy_tokens: float, *, trained: bool = True, on_gpu: bool = False
) -> float:
    """The height of a loss whose logits are computed in blocks: in the backward pass.

    Three blocks in float32 and, with weights of 16 bits, one more in two halves; hidden states and their gradient; and
    the gradient of the head, in its own type, of which a block is in float32.

    Args:
        shape: Whose head.
        precision: Of its weights.
        policy_tokens: Of a micro-batch.
        trained: Whether the head has a gradient.
        on_gpu: Whether a GPU computes, in larger blocks.
    """
    most_entries, most_tokens = GPU_BLOCK if on_gpu else (BLOCK_ENTRIES, BLOCK_TOKENS)
    size, entries, tokens = precision.weight, min(shape.vocabulary, most_entries), min(policy_tokens, most_tokens)
    gradient = shape.embedding_parameters * size + entries * shape.hidden * 4 if trained else 0
    per_entry = 12 if size == 4 else 16
    if shape.vocabulary <= most_entries and policy_tokens <= most_tokens:
        # It is the only block: none is left of the one before, and most is held once its gradient is made.
        per_entry -= 4
        gradient += entries * shape.hidden * size if trained else 0
    blocks = tokens * entries * per_entry
    states = policy_tokens * shape.hidden * (2 * size + 8)
    return blocks + states + gradient


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
        Item("float32 copy of the weights", "always", trained * kept.master / parts),
        Item(f"optimizer state ({run.optimizer})", "always", optimizer_bytes(shape, run, trained) / parts),
    ]
    if run.has_reference and not run.lora_rank:
        items.append(Item("reference model", "always", parameters * precision.weight / parts))
    gradients = trained * kept.gradient / parts
    if run.has_critic:
        # Critic and policy are updated one after the other, so there is one set of gradients: the larger.
        critic = replace(run, optimizer=run.critic_optimizer, masters=run.critic_masters)
        own = trained if run.lora_rank else shape.trunk_parameters  # it shares what is frozen
        its = Precision() if run.lora_rank else critic.precision
        full = optimizer_bytes(shape, critic, own) + own * (its.weight + its.master)
        items.append(Item("critic and its optimizer", "always", full / parts))
        gradients = max(gradients, own * its.gradient / parts)
    items += _of_the_rollout(shape, run, hardware)
    # Workers differentiate into gradients of their own, in the weights' type, which are then added.
    apart = run.workers * trained * kept.weight / parts if run.workers > 1 else 0
    items.append(Item("gradients", "update, step", gradients))
    items.append(Item("gradients of the workers", "update", apart))
    activations, passing = _of_the_update(shape, run, hardware)
    items.append(Item("activations of a micro-batch", "update", activations * run.workers))
    items.append(Item("logits, or gradients on their way", "update", passing * run.workers))
    items.append(Item("optimizer's step", "step", _of_the_step(shape, run) / parts))
    items.append(Item("Python, torch, context", "always", assumptions.runtime_gb * GB))
    items.append(Item("simulator on the same device", "always", assumptions.simulator_gb * GB))
    shown = tuple(item for item in items if item.num_bytes)
    return MemoryPlan(shown, margin=assumptions.margin, available=hardware.memory_gb * GB)


def _of_the_update(shape: ModelShape, run: RunShape, hardware: Hardware) -> tuple[float, float]:
    """What is kept of a micro-batch, and what comes and goes within its backward pass at its height.

    That is the loss and the head's gradient; or a layer's gradients and, with checkpointing, the layer itself.
    """
    layout, precision = LearnerLayout.of(shape, run), run.precision
    kernel: Kernel = "sdpa" if not layout.packed else ("segments" if hardware.is_gpu else "blockwise")
    tokens, policy_tokens = layout.at_once, layout.policy_tokens_at_once
    options = {
        "kernel": kernel,
        "keys_seen": min(run.max_episode_tokens, tokens),
        "keys_per_token": layout.keys_per_token,
        "lora_rank": run.lora_rank,
    }
    activations = activation_bytes(
        shape,
        precision,
        tokens,
        checkpointing=run.gradient_checkpointing,
        **options,  # type: ignore[arg-type]
    )
    if layout.packed or shape.vocabulary > SMALL_VOCABULARY:
        head = head_bytes(shape, precision, policy_tokens, trained=not run.lora_rank, on_gpu=hardware.is_gpu)
    else:
        head = logits_bytes(shape, policy_tokens)
    layer = 3 * tokens * shape.intermediate * precision.weight
    if shape.tied and not run.lora_rank:  # the head's gradient waits for that of the embedding
        layer += shape.embedding_parameters * precision.weight
    if run.gradient_checkpointing:
        kinds = {bool(shape.num_conv_layers), shape.num_conv_layers == shape.num_layers}
        layer += max(
            layer_bytes(shape, precision, tokens, convolution=kind, **options)  # type: ignore[arg-type]
            for kind in kinds
        )
    return activations, max(head, layer)


def _of_the_step(shape: ModelShape, run: RunShape) -> float:
    """What comes and goes within an optimizer's step: one weight after the other is moved, the largest an embedding."""
    if run.lora_rank:
        return 12.0 * shape.intermediate * run.lora_rank
    largest = shape.embedding_parameters
    if run.precision.gradient == 2:  # without masters: it and its gradient in float32
        return largest * (16.0 if run.optimizer == "adamw" else 12.0)
    return 8.0 * largest


def _of_the_rollout(shape: ModelShape, run: RunShape, hardware: Hardware) -> Sequence[Item]:
    """The sampler's cache, and what its passes hold."""
    precision, size = run.precision, run.precision.weight
    before = run.prompt_before(round(run.num_actions) - 1)
    longest = min(before + run.max_new_tokens, run.max_episode_tokens)
    per_device = max(run.num_episodes, 1) / hardware.num_devices
    per_token = cache_bytes_per_token(shape, precision)
    if run.sampler == "vllm":
        # An engine of its own: a second copy of the weights, and it fills its share of the device with cache.
        weights = shape.num_parameters * size
        share = run.vllm_share * hardware.memory_gb * GB
        return (
            Item("sampler's weights", "always", weights),
            Item("sampler's cache", "always", max(share - weights, longest * per_token)),
        )
    rows = min(max(run.max_batch_tokens // longest, 1) * run.workers, max(per_device, 1))
    tokens = rows * longest
    kept = keeps_cache(shape, run)
    if kept:
        # Rows that are let go, or are taken up again, are copied. What other episodes wait with is kept beside.
        others = min(max(per_device - rows, 0) * before, run.max_cached_tokens)
        items = [
            Item("sampler's cache", "rollout", 2 * tokens * per_token),
            Item("cache kept between turns", "rollout", others * per_token),
        ]
        # Equal prompts are read once, and later what is new.
        read = max(rows / run.group_size * run.prompt_tokens, rows * run.document_tokens)
    else:
        items = [Item("sampler's cache", "rollout", tokens * per_token)]
        read = rows * before
    # What is read is encoded at once: the widest layer of it, a mask, keys and values of a layer laid out for all
    # query heads, and the logits of one place a row.
    layer = read * (3 * shape.intermediate + 4 * shape.hidden + 2 * (shape.query_width + shape.key_width)) * size
    mask = read * before * (1 + size) if rows > 1 else 0
    spread = 2 * tokens * shape.query_width * size if kept and shape.num_kv_heads < shape.num_heads else 0
    passes = layer + mask + spread + 3 * rows * shape.vocabulary * 4
    items.append(Item("sampler's passes", "rollout", passes))
    if hardware.num_devices > 1:
        # Sharded weights are gathered to be sampled from.
        whole = shape.num_parameters * size * (1 - 1 / hardware.num_devices)
        items.append(Item("gathered weights of the sampler", "rollout", whole))
    return items
