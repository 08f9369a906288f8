"""Attention over a packed row on a CPU, block by block, in plain torch.

torch's own CPU kernel for causal attention runs at about 70 GFLOP/s on a machine whose matrix products reach 160 in
float32 and 400 in bfloat16, and would compute a shared prompt anew for each of its episodes. Here scores of one block
of queries are made by a batched product, stay in the cache, and are gone before the next block (FlashAttention, arXiv
2205.14135, without its online softmax: a block sees all its keys at once). The backward pass makes them again.

Scores and softmax are float32 whatever the inputs are. Shapes: T tokens, H query heads, K key heads, R = H / K, D width
of a head, b queries of a block, n keys that they see.
"""

from __future__ import annotations

from functools import lru_cache
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


def _rows(states: Tensor, num_key_heads: int) -> Tensor:
    """[K, T * R, D] of states [H, T, D]: token by token, the heads that share a key head beside each other."""
    heads, tokens, width = states.shape
    grouped = states.reshape(num_key_heads, heads // num_key_heads, tokens, width)
    return grouped.transpose(1, 2).reshape(num_key_heads, -1, width)


def _states(rows: Tensor, num_heads: int) -> Tensor:
    """[H, T, D] of rows [K, T * R, D]."""
    num_key_heads, _, width = rows.shape
    grouped = rows.view(num_key_heads, -1, num_heads // num_key_heads, width)
    return grouped.transpose(1, 2).reshape(num_heads, -1, width)


def _seen_by(states: Tensor, segment: Segment) -> Tensor:
    """[K, P + L, D]: what a segment's queries may see, its prefix first."""
    own = states[:, segment.start : segment.end]
    if not segment.prefix_length:
        return own
    return torch.cat((states[:, segment.prefix_start : segment.prefix_start + segment.prefix_length], own), dim=1)


@lru_cache(maxsize=8)
def _later(size: int, device: torch.device) -> Tensor:
    """[size, 1, size], bool: which keys of a block come after a query of it."""
    return torch.ones(size, size, dtype=torch.bool, device=device).triu_(1)[:, None]


def _weights(queries: Tensor, keys: Tensor, first: int, prefix: int, window: int | None) -> Tensor:
    """[K, b * R, n], float32: the softmax of a block's scores.

    Args:
        queries: [K, b * R, D], float32, scaled.
        keys: [K, n, D], float32.
        first: The block's first query within its segment.
        prefix: The prefix's tokens.
        window: See `blockwise_attention`.
    """
    num_key_heads, rows, _ = queries.shape
    seen = keys.shape[1]
    size = seen - prefix - first  # b
    scores = torch.bmm(queries, keys.transpose(1, 2))
    square = scores.view(num_key_heads, size, rows // size, seen)
    if size > 1:
        square[..., prefix + first :].masked_fill_(_later(_BLOCK, scores.device)[:size, :, :size], -torch.inf)
    if window is not None and seen > window:
        places = torch.arange(seen, device=scores.device)
        far = places[prefix + first :, None, None] - places >= window  # [b, 1, n]
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
        heads, shared = len(queries), len(queries) // len(keys)
        rows = _rows(queries, len(keys))
        scaled, exact_keys = rows.float() * scale, keys.float()
        out = torch.empty_like(rows)
        for segment in layout.segments:
            own_keys, own_values = _seen_by(exact_keys, segment), _seen_by(values, segment)
            for first, end in layout.blocks(segment, _BLOCK):
                block = slice((segment.start + first) * shared, (segment.start + end) * shared)
                seen = segment.prefix_length + end
                weights = _weights(scaled[:, block], own_keys[:, :seen], first, segment.prefix_length, window)
                out[:, block] = torch.bmm(weights.to(values.dtype), own_values[:, :seen])
        ctx.save_for_backward(rows, keys, values, out)
        ctx.heads, ctx.layout, ctx.scale, ctx.window = heads, layout, scale, window
        return _states(out, heads)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        rows, keys, values, out = ctx.saved_tensors
        layout, scale, window = ctx.layout, ctx.scale, ctx.window
        shared = ctx.heads // len(keys)
        pulls = _rows(gradient, len(keys))
        scaled, exact_keys = rows.float() * scale, keys.float()
        to_rows = torch.empty_like(rows)
        to_keys, to_values = torch.zeros_like(keys, dtype=torch.float32), torch.zeros_like(values, dtype=torch.float32)
        delta = (pulls * out).sum(-1, keepdim=True, dtype=torch.float32)  # [K, T * R, 1]
        for segment in layout.segments:
            prefix, own = segment.prefix_length, slice(segment.start, segment.end)
            own_keys, own_values = _seen_by(keys, segment), _seen_by(values, segment)
            own_exact = _seen_by(exact_keys, segment)
            of_keys, of_values = torch.zeros_like(own_exact), torch.zeros_like(own_exact)
            for first, end in layout.blocks(segment, _BLOCK):
                block = slice((segment.start + first) * shared, (segment.start + end) * shared)
                seen = prefix + end
                weights = _weights(scaled[:, block], own_exact[:, :seen], first, prefix, window)
                pull = pulls[:, block]  # [K, b * R, D]
                of_values[:, :seen] += torch.bmm(weights.to(pull.dtype).transpose(1, 2), pull)
                # Of the softmax: weights · (gradient - what it is on average), once more times the scale.
                errors = torch.bmm(pull, own_values[:, :seen].transpose(1, 2))  # [K, b * R, n]
                errors = weights.mul_(errors - delta[:, block]).mul_(scale).to(rows.dtype)
                to_rows[:, block] = torch.bmm(errors, own_keys[:, :seen])
                of_keys[:, :seen] += torch.bmm(errors.transpose(1, 2), rows[:, block])
            to_keys[:, own] += of_keys[:, prefix:]
            to_values[:, own] += of_values[:, prefix:]
            if prefix:
                before = slice(segment.prefix_start, segment.prefix_start + prefix)
                to_keys[:, before] += of_keys[:, :prefix]
                to_values[:, before] += of_values[:, :prefix]
        to_queries = _states(to_rows, ctx.heads)
        return to_queries, to_keys.to(keys.dtype), to_values.to(values.dtype), None, None, None
