"""Log-probs and entropies from hidden states, a block of the vocabulary at a time.

The logits of all tokens over the whole vocabulary are the largest tensor of training: 16,384 tokens × 151,936 entries
are 9.3 GiB in float32. Here they never exist: the forward pass goes over the head's weight in blocks, with an online
softmax (Milakov and Gimelshein, arXiv 1805.02867), and the backward pass makes each block again.

Shapes: N tokens, H hidden width, V vocabulary, n tokens of a chunk, v entries of a block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["HeadLogprobs", "head_logprobs"]

_ENTRIES = 4096
_TOKENS = 512
"""A block of logits is at most these two multiplied: 8 MiB in float32, which a processor's cache holds."""

_ON_GPU = (16_384, 2048)
"""The same on a GPU, 128 MiB: smaller blocks are done before the next one is started."""


class HeadLogprobs(NamedTuple):
    """What `head_logprobs` gives, each [N], float32.

    Attributes:
        logprobs: Naively `(hidden @ weight.T / temperature).log_softmax(-1)[range(N), targets]`.
        entropy: Of each distribution, in nats.
    """

    logprobs: Tensor
    entropy: Tensor


def head_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    entropy_gradient: bool = False,
) -> HeadLogprobs:
    """Log-probs of chosen tokens, and entropies, without the logits of all of them at once.

    Logits are computed in the type of `hidden`, as a model computes them, and looked at in float32.

    Args:
        hidden: [N, H].
        weight: [V, H], the head's.
        targets: [N], ids.
        bias: [V], the head's, if it has one.
        temperature: What logits are divided by.
        entropy_gradient: Whether the entropies carry a gradient.
    """
    logprobs, entropy = _HeadLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, temperature, entropy_gradient
    )
    return HeadLogprobs(logprobs, entropy)


def _chunks(total: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, total)) for at in range(0, total, size)]


def _block(device: torch.device) -> tuple[int, int]:
    """Entries and tokens of a block of logits."""
    return (_ENTRIES, _TOKENS) if device.type == "cpu" else _ON_GPU


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    """[n, v], float32."""
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    return logits if temperature == 1.0 else logits.div_(temperature)


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        count, device = len(hidden), hidden.device
        most_entries, most_tokens = _block(device)
        chosen = torch.zeros(count, device=device)
        normalizer, entropy = torch.empty(count, device=device), torch.empty(count, device=device)
        for tokens in _chunks(count, most_tokens):
            part, wanted = hidden[tokens], targets[tokens]
            largest = torch.full((len(part),), -torch.inf, device=device)
            total, mean = torch.zeros(len(part), device=device), torch.zeros(len(part), device=device)
            for entries in _chunks(len(weight), most_entries):
                logits = _logits(part, weight[entries], None if bias is None else bias[entries], temperature)
                inside = (wanted >= entries.start) & (wanted < entries.stop)
                places = (wanted - entries.start).clamp(0, logits.shape[1] - 1)
                found = logits.gather(1, places[:, None])[:, 0]
                chosen[tokens] = torch.where(inside, found, chosen[tokens])
                new = torch.maximum(largest, logits.amax(1))
                base = new.nan_to_num(neginf=0.0)  # until an entry is above -inf
                old = (largest - base).exp()
                shifted = (logits - base[:, None]).exp_()
                total = total * old + shifted.sum(1)
                # The sum of p·z, not yet divided; an entry of logit -inf adds nothing.
                mean = mean * old + shifted.mul_(logits.nan_to_num_(neginf=0.0)).sum(1)
                largest = new
            normalizer[tokens] = largest + total.log()
            entropy[tokens] = normalizer[tokens] - mean / total
        ctx.save_for_backward(hidden, weight, targets, normalizer, entropy, *(() if bias is None else (bias,)))
        ctx.temperature, ctx.entropy_gradient = temperature, entropy_gradient
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return chosen - normalizer, entropy

    @staticmethod
    def backward(ctx: Any, to_logprobs: Tensor, to_entropy: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, normalizer, entropy, *rest = ctx.saved_tensors
        bias = rest[0] if rest else None
        temperature = ctx.temperature
        most_entries, most_tokens = _block(hidden.device)
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.zeros(hidden.shape, device=hidden.device, dtype=torch.float32) if needs_hidden else None
        to_weight = torch.empty_like(weight) if needs_weight else None
        to_bias = torch.zeros_like(bias) if needs_bias and bias is not None else None
        # Blocks of the vocabulary are the outer loop, so each one's gradient is complete before it is rounded.
        for entries in _chunks(len(weight), most_entries):
            block = weight[entries]
            of_block = torch.zeros(block.shape, device=block.device, dtype=torch.float32) if needs_weight else None
            for tokens in _chunks(len(hidden), most_tokens):
                part, wanted = hidden[tokens], targets[tokens]
                logits = _logits(part, block, None if bias is None else bias[entries], temperature)
                logs = logits.sub_(normalizer[tokens, None])
                shares = logs.exp()
                pull = to_logprobs[tokens]
                if ctx.entropy_gradient:
                    # Of -Σ p·log p with respect to a logit: -p·(log p + entropy).
                    logs = logs.nan_to_num_(neginf=0.0).add_(entropy[tokens, None]).mul_(to_entropy[tokens, None])
                    error = shares.mul_(logs.add_(pull[:, None]).neg_())
                else:
                    error = shares.mul_(-pull[:, None])
                inside = ((wanted >= entries.start) & (wanted < entries.stop)).nonzero()[:, 0]
                error[inside, wanted[inside] - entries.start] += pull[inside]
                if temperature != 1.0:
                    error.div_(temperature)
                if to_bias is not None:
                    to_bias[entries] += error.sum(0).to(to_bias.dtype)
                error = error.to(hidden.dtype)
                if to_hidden is not None:
                    to_hidden[tokens] += error @ block
                if of_block is not None:
                    of_block += error.T @ part
            if to_weight is not None and of_block is not None:
                to_weight[entries] = of_block.to(weight.dtype)
        return None if to_hidden is None else to_hidden.to(hidden.dtype), to_weight, to_bias, None, None, None
