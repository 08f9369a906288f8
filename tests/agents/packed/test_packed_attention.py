"""Kernels of packed attention against the naive formula in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.packed import PackedLayout, attention, blockwise
from agents.packed.attention import flash_packed, packed_kernel_name, sdpa_packed, varlen_packed
from agents.packed.blockwise import blockwise_attention


def varlen(
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
    """What flash-attn documents of `flash_attn_varlen_func`, in plain torch: causal is aligned to the end."""
    assert causal
    parts = []
    rest = queries.shape[1] // keys.shape[1]
    for at in range(len(query_ends) - 1):
        q = queries[query_ends[at] : query_ends[at + 1]].transpose(0, 1)
        k = keys[key_ends[at] : key_ends[at + 1]].transpose(0, 1).repeat_interleave(rest, 0)
        v = values[key_ends[at] : key_ends[at + 1]].transpose(0, 1).repeat_interleave(rest, 0)
        assert q.shape[1] <= most_queries
        assert k.shape[1] <= most_keys
        behind = torch.arange(q.shape[1])[:, None] + k.shape[1] - q.shape[1] - torch.arange(k.shape[1])
        seen = behind >= 0
        if window_size[0] >= 0:
            seen &= behind <= window_size[0]
        scores = (softmax_scale * q @ k.transpose(1, 2)).masked_fill(~seen, -torch.inf)
        parts.append((scores.softmax(-1) @ v).transpose(0, 1))
    return torch.cat(parts)


def flash(*given: Any, **options: Any) -> Tensor:
    return flash_packed(*given, **options, kernel=varlen)


def naive(q: Tensor, k: Tensor, v: Tensor, layout: PackedLayout, scale: float, window: int | None) -> Tensor:
    seen, places = layout.visible(), layout.positions()
    if window is not None:
        seen = seen & (places[:, None] - places[None, :] < window)
    rest = len(q) // len(k)
    k, v = k.repeat_interleave(rest, 0), v.repeat_interleave(rest, 0)
    return (scale * q @ k.transpose(1, 2)).masked_fill(~seen, -torch.inf).softmax(-1) @ v


TREES = st.lists(
    st.tuples(st.integers(0, 9), st.lists(st.integers(1, 9), min_size=1, max_size=4)), min_size=1, max_size=4
)


@pytest.mark.parametrize("kernel", [blockwise_attention, sdpa_packed, flash], ids=["blockwise", "sdpa", "flash"])
@settings(max_examples=25, deadline=None)
@given(
    trees=TREES,
    heads=st.sampled_from([(4, 2), (3, 1), (2, 2)]),
    block=st.sampled_from([1, 3, 96]),
    window=st.sampled_from([None, 1, 4]),
)
def test_a_kernel_gives_what_the_formula_does_and_its_gradient(
    kernel: Callable[..., Tensor],
    trees: list[tuple[int, list[int]]],
    heads: tuple[int, int],
    block: int,
    window: int | None,
) -> None:
    layout = PackedLayout.of(trees)
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> Tensor:
        return torch.randn(count, layout.num_tokens, 8, generator=generator, dtype=torch.float64).requires_grad_()

    exact = [draw(heads[0]), draw(heads[1]), draw(heads[1])]
    pull = torch.randn(heads[0], layout.num_tokens, 8, generator=generator, dtype=torch.float64)
    wanted = naive(*exact, layout, 0.3, window)
    wanted.backward(pull)
    given = [one.detach().float().requires_grad_() for one in exact]
    before = [one.detach().clone() for one in given]
    saved, blockwise._BLOCK = blockwise._BLOCK, block
    try:
        found = kernel(*given, layout, scale=0.3, window=window)
        found.backward(pull.float())
    finally:
        blockwise._BLOCK = saved
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)
    for one, other, untouched in zip(given, exact, before, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=0, atol=1e-5)
        assert torch.equal(one.detach(), untouched)


def test_in_bfloat16_a_block_is_as_near_to_the_formula_as_sdpa_is() -> None:
    layout = PackedLayout.of([(40, [70, 55, 1])])
    generator = torch.Generator().manual_seed(1)
    states = [torch.randn(heads, layout.num_tokens, 16, generator=generator) * 2 for heads in (4, 2, 2)]
    states = [one.bfloat16() for one in states]
    pull = torch.randn(4, layout.num_tokens, 16, generator=generator).bfloat16()

    def errors(kernel: Callable[..., Tensor]) -> list[float]:
        exact = [one.double().requires_grad_() for one in states]
        wanted = naive(*exact, layout, 0.25, None)
        wanted.backward(pull.double())
        given = [one.clone().requires_grad_() for one in states]
        found = kernel(*given, layout, scale=0.25)
        found.backward(pull)
        pairs = [(found, wanted), *((one.grad, other.grad) for one, other in zip(given, exact, strict=True))]
        return [float((one.detach().double() - other.detach()).norm() / other.detach().norm()) for one, other in pairs]

    ours, theirs = errors(blockwise_attention), errors(sdpa_packed)
    # The gradient of a softmax weight is rounded to bfloat16 here and isn't there.
    assert all(one < 2 * other for one, other in zip(ours, theirs, strict=True)), (ours, theirs)


@pytest.mark.parametrize("window", [None, 4])
def test_torchs_own_kernel_is_asked_for_what_flash_attn_is(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes on a GPU alone; here a stand-in does, with the arguments that torch documents: causal is a window."""
    own = pytest.importorskip("torch.nn.attention.varlen")

    def stand_in(
        queries: Tensor, keys: Tensor, values: Tensor, *rest: Any, scale: float, window_size: tuple[int, int]
    ) -> Tensor:
        assert window_size[1] == 0, "nothing that comes after is seen"
        assert queries.shape[1] == keys.shape[1] == values.shape[1], "no version has to share key heads by itself"
        return varlen(queries, keys, values, *rest, softmax_scale=scale, causal=True, window_size=(window_size[0], 0))

    monkeypatch.setattr(own, "varlen_attn", stand_in)
    layout = PackedLayout.of([(7, [3, 5]), (0, [6])])
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(heads, layout.num_tokens, 8, generator=generator) for heads in (4, 2, 2)]
    for _ in range(2):  # the second time from what the layout has kept
        found = varlen_packed(*given, layout, scale=0.3, window=window)
        torch.testing.assert_close(found, naive(*given, layout, 0.3, window))


def test_16_bits_on_a_gpu_take_flash_attn_or_torchs_own_kernel_and_others_sdpa(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu, half = torch.device("cuda"), torch.bfloat16
    for has_flash, has_own, wanted in (
        (True, True, "flash_attention_2"),
        (False, True, "varlen"),
        (False, False, "sdpa"),
    ):
        monkeypatch.setattr(attention, "has_flash_attention", lambda has=has_flash: has)
        monkeypatch.setattr(attention, "has_varlen_attention", lambda has=has_own: has)
        assert packed_kernel_name(gpu, half) == wanted
        assert packed_kernel_name(gpu, torch.float32) == "sdpa"
        assert packed_kernel_name(torch.device("cpu"), half) == "blockwise"
