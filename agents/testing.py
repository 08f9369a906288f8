"""Small real things to test with: a tokenizer of single bytes and models that take a millisecond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Lfm2Config, Lfm2ForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["MODELS", "byte_tokenizer", "tiny_lfm2", "tiny_llama"]

_TAGS = [f"<{slash}{name}>" for name in ("think", "search", "answer", "information") for slash in ("", "/")]


def byte_tokenizer(*, tags: bool = True, special_tags: bool = False) -> Any:
    """A tokenizer with one token a byte, whose padding token is its end-of-turn token.

    Args:
        tags: Whether the protocol's tags are tokens of their own.
        special_tags: Whether these are control tokens, which `skip_special_tokens` would skip.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>"
    )
    if tags:
        tokenizer.add_tokens([AddedToken(tag, special=special_tags, normalized=False) for tag in _TAGS])
    return tokenizer


def tiny_lfm2(vocabulary: int = 272, *, seed: int = 0, conv_kernel: int = 4) -> Any:
    """Two short convolutions around one attention layer, with random weights."""
    torch.manual_seed(seed)
    config = Lfm2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        conv_L_cache=conv_kernel,
        block_auto_adjust_ff_dim=False,
        layer_types=["conv", "full_attention", "conv"],
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    model: Any = Lfm2ForCausalLM(config)
    return model.eval()


def tiny_llama(vocabulary: int = 272, *, seed: int = 0) -> Any:
    """Two attention layers with grouped queries, with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
    )
    model: Any = LlamaForCausalLM(config)
    return model.eval()


MODELS: dict[str, Callable[..., Any]] = {"lfm2": tiny_lfm2, "llama": tiny_llama}
"""The tiny models by shape."""
