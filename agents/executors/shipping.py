"""A policy as something that travels: its shape as bytes, its weights as arrays that processes can share.

The shape is the model with parameters that have no memory, so it is small; buffers and everything else come along.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.dynamic_module_utils import init_hf_modules

from agents.errors import ModelError
from agents.lora import LoraPolicy
from agents.packed.attention import register
from agents.policy import Policy

__all__ = ["Arrays", "Shape", "arrays_of", "load_arrays", "shape_of", "tensors_of", "unpack", "weights_of"]

Arrays = Mapping[str, tuple[np.ndarray[Any, Any], str]]
"""Name to array and the type of its tensor, for types that numpy doesn't have (bfloat16 travels as int16)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A policy without its weights.

    Attributes:
        pickled: Model on the meta device, tokenizer, and what else its constructor takes.
    """

    pickled: bytes


def shape_of(policy: Policy) -> Shape:
    """What a policy is, beside its weights.

    Raises:
        ModelError: The model can't be sent to another process.
    """
    empty: dict[int, Any] = {
        id(one): torch.nn.Parameter(torch.empty_like(one, device="meta"), requires_grad=one.requires_grad)
        for one in policy.model.parameters()
    }
    try:
        model = copy.deepcopy(policy.model, empty)
        base = policy.base if isinstance(policy, LoraPolicy) else None
        return Shape(pickle.dumps((model, policy.tokenizer, policy.codec.use_chat_template, base)))
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ModelError(
            f"{type(policy.model).__name__} can't be sent to other processes ({error}): train it with --executor local."
        ) from error


def weights_of(policy: Policy) -> dict[str, Tensor]:
    """All parameters by name, those that are shared under their first name; they are the policy's own memory."""
    return {name: one.detach() for name, one in policy.model.named_parameters()}


def unpack(shape: Shape, weights: Mapping[str, Tensor]) -> Policy:
    """The policy of a shape and weights, which are taken as they are, without a copy.

    Raises:
        ModelError: The weights are not those of this shape, or the model's code isn't here.
    """
    model, tokenizer, use_chat_template, base = _loaded(shape.pickled)
    made: dict[int, torch.nn.Parameter] = {}
    for name, one in model.named_parameters():
        if name not in weights or weights[name].shape != one.shape:
            raise ModelError(f"The weights that were sent have no {name!r} of shape {tuple(one.shape)}.")
        made[id(one)] = torch.nn.Parameter(weights[name], requires_grad=one.requires_grad)
    for module in model.modules():
        for name, one in module._parameters.items():
            if one is not None:
                module._parameters[name] = made[id(one)]
    if base is not None:
        return LoraPolicy(model, tokenizer, base=base, use_chat_template=use_chat_template)
    return Policy(model, tokenizer, use_chat_template=use_chat_template)


def _loaded(pickled: bytes) -> Any:
    register()  # a model that was found fit for packed rows names this attention, which a new process doesn't know
    if b"transformers_modules" in pickled:  # its code came with it, and lies where transformers keeps such code
        init_hf_modules()  # type: ignore[no-untyped-call]
    try:
        return pickle.loads(pickled)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"The code of the model or its tokenizer isn't where other processes can import it ({error}): train it "
            "with --executor local, or install that code as a package on every machine."
        ) from error


def arrays_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[np.ndarray[Any, Any], str]]:
    """Tensors as arrays, which Ray puts into shared memory; on the CPU they share theirs with the tensor."""
    return {name: (_array(one.detach().cpu().contiguous()), str(one.dtype)) for name, one in tensors.items()}


def tensors_of(arrays: Arrays) -> Iterator[tuple[str, Tensor]]:
    """The tensors again. Those of shared memory must not be written to."""
    for name, (array, kind) in arrays.items():
        dtype = getattr(torch, kind.removeprefix("torch."))
        with warnings.catch_warnings():  # of memory that is read-only, and that nobody here writes to
            warnings.simplefilter("ignore", UserWarning)
            tensor = torch.from_numpy(array)
        yield name, tensor.view(dtype).reshape(array.shape)


def load_arrays(policy: Policy, arrays: Arrays) -> None:
    """Write weights into a policy that has its own memory.

    Raises:
        ModelError: The policy has no weight of such a name.
    """
    own = dict(policy.model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors_of(arrays):
            if name not in own:
                raise ModelError(f"The policy has no weight {name!r}.")
            own[name].copy_(tensor)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    sizes: dict[int, torch.dtype] = {1: torch.uint8, 2: torch.int16}
    exact = tensor.dtype in (torch.float16, torch.float32, torch.float64, torch.int64, torch.int32)
    plain = tensor if exact else tensor.view(sizes[tensor.element_size()])
    found: np.ndarray[Any, Any] = plain.numpy()
    return found
