"""The attention function that models of transformers are given, so that packed rows and kept caches can be computed.

Registered with transformers' `AttentionInterface` under `NAME`; without a packed layout it does what SDPA does. With
one, by device: on a CPU `blockwise`; else, for weights of 16 bits, FlashAttention-2's kernel for runs of different
lengths, that of `flash-attn` where it is installed or the one that torch has; and SDPA a prefix at a time for others.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from agents.packed.blockwise import blockwise_attention
from agents.packed.layout import PackedLayout

__all__ = [
    "LAYOUT",
    "NAME",
    "flash_packed",
    "has_flash_attention",
    "has_varlen_attention",
    "packed_kernel_name",
    "register",
    "sdpa_packed",
    "varlen_packed",
]

NAME = "zerosearch"
"""What the attention function is called in a model's config."""

LAYOUT = "packed_layout"
"""The keyword by which a `PackedLayout` reaches the attention function through the model's forward."""

_UNKNOWN = ("softcap", "position_bias", "s_aux", "sinks")
"""What other models hand to attention that is not computed here."""


_FEW_ROWS = 1024
"""Up to here, copying a mask for query heads that share a key head is cheaper than copying the keys."""


def register() -> None:
    """Make the function known to transformers; again is no harm."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def has_flash_attention() -> bool:
    """Whether the package `flash-attn` is installed."""
    return importlib.util.find_spec("flash_attn") is not None


@lru_cache
def has_varlen_attention() -> bool:
    """Whether torch has attention of runs of different lengths (from 2.11 on), and a GPU here that computes it."""
    if importlib.util.find_spec("torch.nn.attention.varlen") is None or not torch.cuda.is_available():
        return False
    taken = inspect.signature(importlib.import_module("torch.nn.attention.varlen").varlen_attn).parameters
    return {"scale", "window_size"} <= set(taken) and torch.cuda.get_device_capability() >= (8, 0)


def packed_kernel_name(device: torch.device, dtype: torch.dtype) -> str:
    """Which kernel computes packed rows: "blockwise", "flash_attention_2", "varlen" (torch's own) or "sdpa"."""
    if device.type == "cpu":
        return "blockwise"
    if dtype not in (torch.float16, torch.bfloat16):
        return "sdpa"
    if has_flash_attention():
        return "flash_attention_2"
    return "varlen" if device.type == "cuda" and has_varlen_attention() else "sdpa"


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of states [B, heads, tokens, width]; see the module.

    Returns:
        [B, tokens, heads, width], and None for the weights, which are never held.
    """
    layout: PackedLayout | None = options.pop(LAYOUT, None)
    if layout is None:
        if _is_grouped(query, key, attention_mask):
            return _grouped(query, key, value, attention_mask, scaling), None
        found = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return found[0], None
    for name in _UNKNOWN:
        if options.get(name) is not None:
            raise NotImplementedError(f"packed attention knows no {name}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    kernel = _KERNELS[packed_kernel_name(query.device, query.dtype)]
    out = kernel(query[0], key[0], value[0], layout, scale=scale, window=sliding_window)
    return out.transpose(0, 1)[None], None


def _is_grouped(query: Tensor, key: Tensor, mask: Tensor | None) -> bool:
    """Whether query heads that share a key head can be rows of it: its mask is given and one for all heads, or a single
    token sees everything.
    """
    length, rows = query.shape[2], query.shape[1] // key.shape[1] * query.shape[2]
    if not length < rows <= _FEW_ROWS:
        return False
    return length == 1 if mask is None else mask.shape[1] == 1


def _grouped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """SDPA with the heads that share a key head as its rows: no key is copied.

    torch's own `enable_gqa` gives the same, on a CPU in bfloat16 five times as slowly.
    """
    batch, heads, length, width = query.shape
    shared = key.shape[1]
    rows = query.reshape(batch, shared, -1, width)
    repeated = None if mask is None else mask[..., : key.shape[2]].repeat(1, 1, heads // shared, 1)
    out = functional.scaled_dot_product_attention(rows, key, value, attn_mask=repeated, scale=scaling)
    return out.reshape(batch, heads, length, width).transpose(1, 2)


def sdpa_packed(
    queries: Tensor, keys: Tensor, values: Tensor, layout: PackedLayout, *, scale: float, window: int | None = None
) -> Tensor:
    """`blockwise_attention`, segment by segment through `scaled_dot_product_attention`."""
    rest = len(queries) // len(keys)
    keys, values = keys.repeat_interleave(rest, 0), values.repeat_interleave(rest, 0)
    parts = []
    for one in layout.segments:
        own, before = slice(one.start, one.end), slice(one.prefix_start, one.prefix_start + one.prefix_length)
        seen_keys = torch.cat((keys[:, before], keys[:, own]), 1)
        seen_values = torch.cat((values[:, before], values[:, own]), 1)
        places = torch.arange(seen_keys.shape[1], device=queries.device)
        behind = places[one.prefix_length :, None] - places  # [L, P + L]: how far back a key lies
        mask = behind >= 0 if window is None else (behind >= 0) & (behind < window)
        parts.append(
            functional.scaled_dot_product_attention(
                queries[None, :, own], seen_keys[None], seen_values[None], attn_mask=mask, scale=scale
            )[0]
        )
    return torch.cat(parts, 1)


def flash_packed(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    layout: PackedLayout,
    *,
    scale: float,
    window: int | None = None,
    kernel: Callable[..., Tensor] | None = None,
) -> Tensor:
    """`blockwise_attention` by FlashAttention-2's `flash_attn_varlen_func`, in one call.

    Each segment is a sequence of L queries and P + L keys, its prefix copied before it: with fewer queries than keys,
    flash-attn's causal mask is aligned to the end (since 2.1), which is just what a continuation sees.

    Args:
        queries: [H, T, D], as the others.
        keys: [K, T, D].
        values: [K, T, D].
        layout: Which tokens see which.
        scale: What scores are multiplied by.
        window: See `blockwise_attention`.
        kernel: Instead of flash-attn's own, for tests.
    """
    if kernel is None:
        kernel = importlib.import_module("flash_attn").flash_attn_varlen_func
    order, query_ends, key_ends, most_queries, most_keys = layout.gathered_on(queries.device)
    out = kernel(
        queries.transpose(0, 1).contiguous(),
        keys.transpose(0, 1)[order],
        values.transpose(0, 1)[order],
        query_ends,
        key_ends,
        most_queries,
        most_keys,
        softmax_scale=scale,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
    )
    return out.transpose(0, 1)


def varlen_packed(
    queries: Tensor, keys: Tensor, values: Tensor, layout: PackedLayout, *, scale: float, window: int | None = None
) -> Tensor:
    """`flash_packed` by the kernel that torch has."""
    return flash_packed(queries, keys, values, layout, scale=scale, window=window, kernel=_torchs_kernel)


def _torchs_kernel(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    most_queries: int,
    most_keys: int,
    *,
    softmax_scale: float,
    causal: bool,
    window_size: tuple[int, int],
) -> Tensor:
    """`torch.nn.attention.varlen.varlen_attn` with flash-attn's names."""
    assert causal
    kernel = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    rest = queries.shape[1] // keys.shape[1]
    out: Tensor = kernel(
        queries,
        keys.repeat_interleave(rest, 1),
        values.repeat_interleave(rest, 1),
        query_ends,
        key_ends,
        most_queries,
        most_keys,
        scale=softmax_scale,
        window_size=(window_size[0], 0),  # nothing that comes after: causal
    )
    return out


_KERNELS: dict[str, Callable[..., Tensor]] = {
    "blockwise": blockwise_attention,
    "flash_attention_2": flash_packed,
    "varlen": varlen_packed,
    "sdpa": sdpa_packed,
}
