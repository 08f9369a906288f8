"""Models of a real shape with random weights: for time and memory, which depend on nothing else."""

from __future__ import annotations

from typing import Any

__all__ = ["random_model", "random_policy"]


def random_policy(shape: Any, *, dtype: str = "float32", device: Any = "cpu", seed: int = 0) -> Any:
    """A policy whose model is of a shape, with a tokenizer of bytes; see `random_model`."""
    from agents.policy import Policy
    from agents.testing import byte_tokenizer

    return Policy(random_model(shape, dtype=dtype, device=device, seed=seed), byte_tokenizer())


def random_model(shape: Any, *, dtype: str = "float32", device: Any = "cpu", seed: int = 0) -> Any:
    """A model of a shape.

    Args:
        shape: An `agents.plan.ModelShape` without convolutions.
        dtype: Of the weights.
        device: Where they lie.
        seed: Of the weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tied,
        attention_bias=shape.qkv_bias,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model: Any = LlamaForCausalLM(config)
    return model.to(getattr(torch, dtype))
