"""Attention over a packed row on a CPU, block by block, in plain torch.

torch's own CPU kernel for causal attention runs at about 70 GFLOP/s on a machine whose matrix products reach 160 in
float32 and 400 in bfloat16, and would compute a shared prompt anew for each of its episodes. Here scores of one block
of queries are made by a batched product, stay in the cache, and are gone before the next block (FlashAttention, arXiv
2205.14135, without its online softmax: a block sees all its keys at once). The backward pass makes them again.

Scores and softmax are float32 whatever the inputs are. Shapes: T tokens, H query heads, K key heads, R = H / K, D width
of a head, b queries of a block, n keys that they see.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.packed.layout import PackedLayout, Segment

__all__ = ["blockwise_attention"]

_BLOCK = 96
"""Queries of a block: large enough for fast products, small enough that its scores stay in the cache."""


def blockwise_attention(
    queries: Tensor, keys: Tensor, values: Tensor, layout: PackedLayout, *, scale: float, window: int | None = None
) -> Tensor:
    """Naively `(scale * q @ k.T).masked_fill(~layout.visible(), -inf).softmax(-1) @ v` for each head.

    Args:
        queries: [H, T, D].
        keys: [K, T, D], each for H / K query heads that follow each other.
        values: [K, T, D].
        layout: Which tokens see which.
        scale: What scores are multiplied by.
        window: How many tokens a token sees at most, itself included; None for all.

    Returns:
        [H, T, D].
    """
    out: Tensor = _Blockwise.apply(queries, keys, values, layout, scale, window)  # type: ignore[no-untyped-call]
    return out


def _keys_of(states: Tensor, segment: Segment) -> Tensor:
    """[K, P + L, D]: what a segment's queries may see, its prefix first."""
    own = states[:, segment.start : segment.end]
    if not segment.prefix_length:
        return own
    return torch.cat((states[:, segment.prefix_start : segment.prefix_start + segment.prefix_length], own), dim=1)


def _rows(states: Tensor, num_key_heads: int, first: int, end: int) -> Tensor:
    """[K, R * b, D] of states [H, T, D]: a block's rows of all query heads that share a key head."""
    return states[:, first:end].reshape(num_key_heads, -1, states.shape[-1])


def _weights(queries: Tensor, keys: Tensor, first: int, prefix: int, window: int | None) -> Tensor:
    """[K, R * b, n], float32: the softmax of a block's scores.

    Args:
        queries: [K, R * b, D], float32, scaled.
        keys: [K, n, D], float32.
        first: The block's first query within its segment.
        prefix: The prefix's tokens.
        window: See `blockwise_attention`.
    """
    num_key_heads, rows, _ = queries.shape
    seen = keys.shape[1]
    size = seen - prefix - first  # b
    scores = torch.bmm(queries, keys.transpose(1, 2))
    square = scores.view(num_key_heads, rows // size, size, seen)
    if size > 1:
        later = torch.ones(size, size, dtype=torch.bool, device=scores.device).triu_(1)
        square[..., prefix + first :].masked_fill_(later, -torch.inf)
    if window is not None and seen > window:
        places = torch.arange(seen, device=scores.device)
        far = places[prefix + first :, None] - places[None, :] >= window  # [b, n]
        square.masked_fill_(far, -torch.inf)
    return torch.softmax(scores, -1)


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        layout: PackedLayout,
        scale: float,
        window: int | None,
    ) -> Tensor:
        heads, _, width = queries.shape
        out = torch.empty_like(queries)
        at: Segment | None = None
        for segment, first, end in layout.blocks(_BLOCK):
            if segment is not at:
                at = segment
                own_keys, own_values = _keys_of(keys, segment).float(), _keys_of(values, segment)
            seen, start = segment.prefix_length + end, segment.start
            block = _rows(queries, len(keys), start + first, start + end).float() * scale
            weights = _weights(block, own_keys[:, :seen], first, segment.prefix_length, window)
            mixed = torch.bmm(weights.to(values.dtype), own_values[:, :seen])
            out[:, start + first : start + end] = mixed.view(heads, end - first, width)
        ctx.save_for_backward(queries, keys, values, out)
        ctx.layout, ctx.scale, ctx.window = layout, scale, window
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        queries, keys, values, out = ctx.saved_tensors
        layout, scale, window = ctx.layout, ctx.scale, ctx.window
        heads, _, width = queries.shape
        to_queries = torch.empty_like(queries)
        to_keys, to_values = torch.zeros_like(keys, dtype=torch.float32), torch.zeros_like(values, dtype=torch.float32)
        delta = (gradient * out).sum(-1, dtype=torch.float32)  # [H, T]
        for segment in layout.segments:
            start, prefix = segment.start, segment.prefix_length
            own_keys, own_values = _keys_of(keys, segment), _keys_of(values, segment)
            exact_keys = own_keys.float()
            of_keys, of_values = torch.zeros_like(exact_keys), torch.zeros_like(exact_keys)
            for first in range(0, segment.length, _BLOCK):
                end = min(first + _BLOCK, segment.length)
                seen, places = prefix + end, slice(start + first, start + end)
                block = _rows(queries, len(keys), start + first, start + end)
                weights = _weights(block.float() * scale, exact_keys[:, :seen], first, prefix, window)
                pull = _rows(gradient, len(keys), start + first, start + end)  # [K, R * b, D]
                of_values[:, :seen] += torch.bmm(weights.to(pull.dtype).transpose(1, 2), pull)
                errors = torch.bmm(pull, own_values[:, :seen].transpose(1, 2)).float()  # [K, R * b, n]
                errors -= delta[:, places].reshape(len(keys), -1, 1)
                errors *= weights
                errors = errors.mul_(scale).to(queries.dtype)
                to_queries[:, places] = torch.bmm(errors, own_keys[:, :seen]).view(heads, end - first, width)
                of_keys[:, :seen] += torch.bmm(errors.transpose(1, 2), block)
            to_keys[:, start : segment.end] += of_keys[:, prefix:]
            to_values[:, start : segment.end] += of_values[:, prefix:]
            if prefix:
                before = slice(segment.prefix_start, segment.prefix_start + prefix)
                to_keys[:, before] += of_keys[:, :prefix]
                to_values[:, before] += of_values[:, :prefix]
        return to_queries, to_keys.to(keys.dtype), to_values.to(values.dtype), None, None, None
