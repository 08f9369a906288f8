"""A model's weights as others load them: by their names in Hugging Face format, adapters merged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor, no_grad

from agents.errors import ModelError

__all__ = ["base_model_of", "named_weights"]

_SAVED = re.compile(r"\.modules_to_save\.([^.]+)(?=\.)")


def base_model_of(model: Any) -> Any:
    """The transformers model itself, of one that adapters of `peft` are put around."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@no_grad()
def named_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights that a model computes with, by name, one after the other.

    Nothing is changed in the model: merging an adapter in place and taking it out again would round the weights.

    Args:
        model: A transformers model, plain or with LoRA adapters of `peft`.

    Raises:
        ModelError: It has an adapter of a kind that can't be merged here.
    """
    base = base_model_of(model)
    adapted = {name: module for name, module in base.named_modules() if hasattr(module, "base_layer")}
    for name, module in adapted.items():
        kind = type(module).__name__
        if not hasattr(module, "get_delta_weight") or any(getattr(module, "use_dora", {}).values()):
            raise ModelError(
                f"The adapter of {name!r} ({kind}) can't be merged into the weights for the sampler: only plain LoRA "
                'can. Sample with sampler = "transformers" instead.'
            )
    for key, value in base.state_dict().items():
        saved = _SAVED.search(key)
        if ".original_module." in key or (saved and saved.group(1) not in _active(base, key[: saved.start()])):
            continue
        owner, is_base, rest = key.partition(".base_layer.")
        if is_base:
            yield f"{owner}.{rest}", _merged(adapted[owner], value) if rest == "weight" else value
        elif not any(key.startswith(f"{name}.") for name in adapted):
            yield _SAVED.sub("", key), value


def _active(base: Any, name: str) -> list[str]:
    return list(base.get_submodule(name).active_adapters)


def _merged(module: Any, weight: Tensor) -> Tensor:
    """The weight with what active adapters add to it, unless that is in it already."""
    if module.merged or module.disable_adapters:
        return weight
    for adapter in module.active_adapters:
        if adapter in module.lora_A or adapter in getattr(module, "lora_embedding_A", {}):
            weight = weight + module.get_delta_weight(adapter).to(weight)
    return weight
