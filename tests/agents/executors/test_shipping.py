"""A policy that travels is the same policy."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from agents.errors import ModelError
from agents.executors.shipping import arrays_of, load_arrays, shape_of, tensors_of, unpack, weights_of
from agents.lora import LoraPolicy, LoraSettings, add_adapters
from agents.policy import Policy
from agents.testing import MODELS, byte_tokenizer, tiny_lfm2

IDS = torch.tensor([[5, 80, 7, 200, 31, 6]])


def sent(policy: Policy, **changes: Any) -> Policy:
    """The policy as another process has it: of bytes, and of arrays that it must not write to."""
    shape = pickle.loads(pickle.dumps(shape_of(policy)))
    arrays = pickle.loads(pickle.dumps(arrays_of(weights_of(policy) | changes)))
    for array, _ in arrays.values():
        array.flags.writeable = False
    return unpack(shape, dict(tensors_of(arrays)))


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_round_trip(name: str, dtype: torch.dtype) -> None:
    policy = Policy(MODELS[name]().to(dtype), byte_tokenizer())
    other = sent(policy)
    assert type(other) is Policy
    assert {one.dtype for one in other.model.parameters()} == {dtype}
    assert [one.requires_grad for one in other.model.parameters()] == [
        one.requires_grad for one in policy.model.parameters()
    ]
    assert other.fingerprints() == policy.fingerprints()
    with torch.no_grad():
        assert torch.equal(other.model(IDS).logits, policy.model(IDS).logits)


def test_weights_that_are_tied_stay_tied() -> None:
    policy = Policy(tiny_lfm2(), byte_tokenizer())
    assert policy.model.lm_head.weight is policy.model.model.embed_tokens.weight
    other = sent(policy)
    assert other.model.lm_head.weight is other.model.model.embed_tokens.weight
    assert len(list(other.model.parameters())) == len(weights_of(policy))


def test_lora() -> None:
    policy = add_adapters(Policy(tiny_lfm2(), byte_tokenizer()), LoraSettings(rank=2), seed=0)
    with torch.no_grad():
        for one in policy.model.parameters():
            if one.requires_grad:
                one.add_(0.1)
    other = sent(policy)
    assert isinstance(other, LoraPolicy)
    assert other.base == policy.base
    assert [name for name, one in other.model.named_parameters() if one.requires_grad] == [
        name for name, one in policy.model.named_parameters() if one.requires_grad
    ]
    with torch.no_grad():
        assert torch.equal(other.model(IDS).logits, policy.model(IDS).logits)


def test_memory_is_shared_and_never_written_to() -> None:
    policy = Policy(tiny_lfm2(), byte_tokenizer())
    arrays = arrays_of(weights_of(policy))
    other = unpack(shape_of(policy), dict(tensors_of(arrays)))
    name, parameter = next(iter(other.model.named_parameters()))
    assert parameter.data_ptr() == arrays[name][0].__array_interface__["data"][0]
    own = Policy(tiny_lfm2(seed=1), byte_tokenizer())
    for array, _ in arrays.values():
        array.flags.writeable = False
    load_arrays(own, arrays)  # copies: training goes on without a change to what was sent
    kept = {name: np.copy(array) for name, (array, _) in arrays.items()}
    with torch.no_grad():
        for one in own.model.parameters():
            one.add_(1.0)
    assert all(np.array_equal(kept[name], array) for name, (array, _) in arrays.items())


def test_bits_of_bfloat16_are_kept() -> None:
    tensor = torch.tensor([1.0, -0.0, float("inf"), 3.14159], dtype=torch.bfloat16)
    ((name, back),) = tensors_of(arrays_of({"one": tensor}))
    assert (name, back.dtype) == ("one", torch.bfloat16)
    assert torch.equal(back.view(torch.int16), tensor.view(torch.int16))


def test_a_number_stays_one() -> None:
    ((_, back),) = tensors_of(arrays_of({"one": torch.tensor(2.5)}))
    assert back.shape == torch.Size([])
    assert float(back) == 2.5


def test_weights_of_another_model() -> None:
    policy = Policy(tiny_lfm2(), byte_tokenizer())
    weights = dict(weights_of(policy))
    name = next(iter(weights))
    with pytest.raises(ModelError, match=f"have no '{name}' of shape"):
        unpack(shape_of(policy), weights | {name: torch.zeros(3)})
    with pytest.raises(ModelError, match=f"have no '{name}' of shape"):
        unpack(shape_of(policy), {key: value for key, value in weights.items() if key != name})
    with pytest.raises(ModelError, match="has no weight 'nonsense'"):
        load_arrays(policy, arrays_of({"nonsense": torch.zeros(3)}))


def test_a_model_that_can_not_travel() -> None:
    policy = Policy(tiny_lfm2(), byte_tokenizer())
    policy.model.hook = lambda: None
    with pytest.raises(ModelError, match=r"can't be sent to other processes .*: train it with --executor local"):
        shape_of(policy)
