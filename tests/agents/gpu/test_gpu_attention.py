"""Kernels of packed attention on a GPU against the formula in float64, and packed episodes against padded ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.batches import collate
from agents.packed import PackedLayout, attention, pack
from agents.packed.attention import has_flash_attention, has_varlen_attention, sdpa_packed, varlen_packed
from agents.packed.blockwise import blockwise_attention
from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_llama
from agents.trajectory import TokenSegment, Trajectory

pytestmark = pytest.mark.gpu

LAYOUT = PackedLayout.of([(40, [70, 55, 1]), (0, [33]), (17, [9])])
KERNELS = {"blockwise": blockwise_attention, "sdpa": sdpa_packed, "varlen": varlen_packed}
EXACTNESS = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def naive(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    seen, places = LAYOUT.visible(), LAYOUT.positions()
    if window is not None:
        seen = seen & (places[:, None] - places[None, :] < window)
    rest = len(q) // len(k)
    k, v = k.repeat_interleave(rest, 0), v.repeat_interleave(rest, 0)
    return (0.2 * q @ k.transpose(1, 2)).masked_fill(~seen, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("dtype", EXACTNESS, ids=str)
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_gives_what_the_formula_does_and_its_gradient(
    name: str, window: int | None, dtype: torch.dtype, device: torch.device
) -> None:
    if name == "varlen" and (dtype == torch.float32 or not has_varlen_attention()):
        pytest.skip("of 16 bits alone, and of newer versions of torch")
    kernel: Callable[..., Tensor] = KERNELS[name]
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(heads, LAYOUT.num_tokens, 64, generator=generator).to(dtype) for heads in (4, 2, 2)]
    pull = torch.randn(4, LAYOUT.num_tokens, 64, generator=generator).to(dtype)
    exact = [one.double().requires_grad_() for one in drawn]
    wanted = naive(*exact, window)
    wanted.backward(pull.double())
    given = [one.to(device).requires_grad_() for one in drawn]
    found = kernel(*given, LAYOUT, scale=0.2, window=window)
    found.backward(pull.to(device))
    pairs = [(found, wanted), *((one.grad, other.grad) for one, other in zip(given, exact, strict=True))]
    for one, other in pairs:
        assert one is not None
        assert other is not None
        off = (one.detach().cpu().double() - other.detach()).norm() / other.detach().norm()
        assert float(off) < EXACTNESS[dtype]


def episodes() -> list[Trajectory]:
    generator = torch.Generator().manual_seed(2)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(272, (count,), generator=generator).tolist())

    made = []
    for group, size in enumerate((4, 3, 1)):
        prompt = draw(11 + 3 * group)
        for member in range(size):
            said = (draw(4 + member), draw(3))
            segments = [
                TokenSegment("prompt", prompt, ""),
                TokenSegment("policy", said[0], "", (-1.0,) * len(said[0])),
                TokenSegment("environment", draw(5), ""),
                TokenSegment("policy", said[1], "", (-1.0,) * len(said[1])),
            ]
            made.append(
                Trajectory(question_id="q", question="?", golden_answers=("x",), group=group, segments=segments)
            )
    return made


def found_by(policy: Policy, batch: Any) -> list[Tensor]:
    policy.model.zero_grad()
    found = policy.token_logprobs(batch)
    (found.logprobs * torch.linspace(-1, 1, len(found.logprobs), device=policy.device)).sum().backward()
    return [found.logprobs.detach(), *(one.grad.clone() for one in policy.model.parameters() if one.grad is not None)]


@pytest.mark.parametrize("kernel", ["chosen", "sdpa", "blockwise"])
@pytest.mark.parametrize("dtype", EXACTNESS, ids=str)
def test_packed_equals_the_cpus_padded_in_float32(
    dtype: torch.dtype, kernel: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama().to(dtype)
    reference = Policy(tiny_llama(), byte_tokenizer())
    reference.model.load_state_dict({name: one.float() for name, one in model.state_dict().items()})
    wanted = found_by(reference, collate(episodes()))
    if kernel != "chosen":
        monkeypatch.setattr(attention, "packed_kernel_name", lambda device, dtype: kernel)
    policy = Policy(model.to(device), byte_tokenizer())
    assert policy.unpackable is None
    for share in (True, False):
        for one, other in zip(found_by(policy, pack(episodes(), share_prompts=share)), wanted, strict=True):
            off = float((one.cpu().float() - other).norm() / other.norm().clamp(min=1e-6))
            assert off < (1e-3 if dtype == torch.float32 else 0.1)


def test_16_bits_take_a_kernel_of_runs_of_different_lengths(device: torch.device) -> None:
    if device.type == "cpu" or not (has_flash_attention() or has_varlen_attention()):
        pytest.skip("neither flash-attn nor torch has one here")
    policy = Policy(tiny_llama().bfloat16().to(device), byte_tokenizer())
    assert policy.describe()["attention"] in ("flash_attention_2", "varlen")
