"""Log-probs in blocks against whole logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import head
from agents.head import head_logprobs


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 9),
    vocabulary=st.integers(2, 40),
    entries=st.sampled_from([1, 7, 64]),
    tokens=st.sampled_from([1, 4, 64]),
    temperature=st.sampled_from([1.0, 0.7]),
    has_bias=st.booleans(),
)
def test_blocks_give_what_whole_logits_give(
    count: int, vocabulary: int, entries: int, tokens: int, temperature: float, has_bias: bool
) -> None:
    generator = torch.Generator().manual_seed(count + 100 * vocabulary)

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    exact = [draw(count, 6) * 3, draw(vocabulary, 6), draw(vocabulary)]
    exact = [one.requires_grad_() for one in exact]
    targets = torch.randint(0, vocabulary, (count,), generator=generator)
    to_logprobs, to_entropy = draw(count), draw(count)
    logits = exact[0] @ exact[1].T + (exact[2] if has_bias else 0.0)
    logs = (logits / temperature).log_softmax(-1)
    wanted = logs.gather(-1, targets[:, None])[:, 0], -(logs.exp() * logs).sum(-1)
    ((wanted[0] * to_logprobs).sum() + (wanted[1] * to_entropy).sum()).backward()
    given = [one.detach().float().requires_grad_() for one in exact]
    saved = head._ENTRIES, head._TOKENS
    head._ENTRIES, head._TOKENS = entries, tokens
    try:
        found = head_logprobs(
            given[0],
            given[1],
            targets,
            bias=given[2] if has_bias else None,
            temperature=temperature,
            entropy_gradient=True,
        )
        ((found.logprobs * to_logprobs).sum() + (found.entropy * to_entropy).sum()).backward()
    finally:
        head._ENTRIES, head._TOKENS = saved
    torch.testing.assert_close(found.logprobs.double(), wanted[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.entropy.double(), wanted[1], rtol=1e-4, atol=1e-4)
    for one, other in zip(given[: 2 + has_bias], exact, strict=False):
        assert other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-3, atol=1e-4)


def test_without_the_entropys_gradient_it_has_none() -> None:
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    found = head_logprobs(hidden, weight, torch.tensor([1, 2, 3]))
    assert not found.entropy.requires_grad
    assert found.logprobs.requires_grad


def test_no_tensor_of_all_tokens_and_the_whole_vocabulary_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_ENTRIES", 16)
    monkeypatch.setattr(head, "_TOKENS", 8)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), options: Any = None) -> Any:
            nonlocal largest
            result = function(*given, **(options or {}))
            for one in result if isinstance(result, (tuple, list)) else [result]:
                if (
                    isinstance(one, torch.Tensor)
                    and one.untyped_storage().nbytes() // one.element_size() == one.numel()
                ):
                    largest = max(largest, one.numel())
            return result

    hidden, weight = torch.randn(40, 4, requires_grad=True), torch.randn(200, 4, requires_grad=True)
    targets = torch.randint(0, 200, (40,))
    with Watch():
        found = head_logprobs(hidden, weight, targets, entropy_gradient=True)
        (found.logprobs.sum() + found.entropy.sum()).backward()
    assert largest < 40 * 200
    assert largest <= max(weight.numel(), hidden.numel(), 16 * 8)


def test_a_block_of_impossible_entries_before_the_first_possible_one_is_left_out() -> None:
    hidden, weight, bias = torch.randn(3, 4), torch.randn(10, 4), torch.zeros(10)
    bias[:6] = -torch.inf
    targets = torch.tensor([6, 7, 9])
    saved, head._ENTRIES = head._ENTRIES, 3
    try:
        found = head_logprobs(hidden.requires_grad_(), weight, targets, bias=bias)
        found.logprobs.sum().backward()
    finally:
        head._ENTRIES = saved
    logs = (hidden @ weight.T + bias)[:, 6:].log_softmax(-1)
    torch.testing.assert_close(found.logprobs, logs.gather(1, targets[:, None] - 6)[:, 0])
    torch.testing.assert_close(found.entropy, -(logs.exp() * logs).sum(-1))
    assert hidden.grad is not None
    assert bool(torch.isfinite(hidden.grad).all())
