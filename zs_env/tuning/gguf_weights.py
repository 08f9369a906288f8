"""A Hugging Face model's settings and weights as a GGUF file holds them, for models built like Llama."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zs_env.errors import ConfigError, require
from zs_env.tuning.gguf_kinds import INSTALL_GGUF, require_gguf

__all__ = ["ARCHITECTURES", "Tensor", "add_settings", "architecture", "read_config", "tensors"]

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""llama.cpp's names of the architectures that we write."""

_CONVERTER = "Give llama.cpp's own convert_hf_to_gguf.py by --converter, which knows more models."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor on its way into a file.

    Attributes:
        name: In GGUF.
        shape: Rows by columns, or one dimension.
        read: Gives its numbers; they are read one tensor at a time, so that a large model needs little memory.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[np.float32]]


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a model's `config.json`.

    Raises:
        ConfigError: It is no whole model in Hugging Face's format, or its files are quantised.
    """
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ConfigError(f"{folder.name!r} holds a LoRA adapter alone: merge it into its model, and save that.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{str(folder)!r} must be a model's folder in Hugging Face's format, with config.json: {error}."
        ) from error
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method")
        raise ConfigError(f"The model in {folder.name!r} is quantised already ({method}): take the one it was made of.")
    return dict(config)


def architecture(config: Mapping[str, Any]) -> str:
    """llama.cpp's name of a model's architecture.

    Raises:
        ConfigError: It isn't one that we write, or uses what we don't.
    """
    named = (config.get("architectures") or [None])[0]
    if named not in ARCHITECTURES:
        raise ConfigError(
            f"Models of the architecture {named!r} aren't written here, but those of {', '.join(ARCHITECTURES)}. "
            + _CONVERTER
        )
    if config.get("use_sliding_window"):
        raise ConfigError(f"The model attends through a sliding window, which isn't written here. {_CONVERTER}")
    kind = _rope(config).get("rope_type", "default")
    if kind not in ("default", "linear", "llama3"):
        raise ConfigError(f"Rotary positions of the type {kind!r} aren't written here. {_CONVERTER}")
    if config.get("hidden_act", "silu") != "silu":
        raise ConfigError(f"The activation must be silu; it is {config['hidden_act']!r}. {_CONVERTER}")
    return ARCHITECTURES[named]


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    rope.setdefault("rope_type", rope.get("type", "default"))
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    return rope


def _heads(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Heads, heads of keys and values, and the size of one."""
    heads = int(config["num_attention_heads"])
    return heads, int(config.get("num_key_value_heads") or heads), _head_size(config, heads)


def _head_size(config: Mapping[str, Any], heads: int) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // heads)


def add_settings(writer: Any, config: Mapping[str, Any]) -> None:
    """Write a model's settings into a GGUF file."""
    heads, key_heads, head_size = _heads(config)
    rope = _rope(config)
    window = config.get("sliding_window") or math.inf  # a Mistral's: within it, there is no difference
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(int(min(config["max_position_embeddings"], window)))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_dimension_count(head_size)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(require_gguf().RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def tensors(folder: Path, config: Mapping[str, Any]) -> Iterator[Tensor]:
    """A model's tensors, by their names in GGUF; nothing is read before `Tensor.read`.

    Raises:
        ConfigError: There are no weights, or a tensor isn't known.
    """
    gguf = require_gguf()
    named = architecture(config)
    number = next(each for each, name in gguf.MODEL_ARCH_NAMES.items() if name == named)
    names = gguf.get_tensor_name_map(number, config["num_hidden_layers"])
    heads, key_heads, _ = _heads(config)
    rotated = {"attn_q": heads, "attn_k": key_heads} if named == "llama" else {}
    for file, source, shape in _entries(folder):
        if source == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ConfigError(f"The tensor {source!r} has no place in a GGUF file of {named}. {_CONVERTER}")
        part = name.split(".")[-2]
        yield Tensor(name=name, shape=shape, read=_reader(file, source, rotated.get(part)))
    if _rope(config)["rope_type"] == "llama3":
        factors = _llama3_factors(config)
        yield Tensor(name="rope_freqs.weight", shape=factors.shape, read=lambda: factors)


def _entries(folder: Path) -> list[tuple[Path, str, tuple[int, ...]]]:
    """The tensors in a folder's weights: file, name and shape."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = [folder / name for name in dict.fromkeys(listed)]
    else:
        files = [folder / "model.safetensors"]
    found = []
    for file in files:
        if not file.is_file():
            raise ConfigError(
                f"The folder {folder.name!r} must hold the weights as {file.name}; it doesn't. Save the model with "
                "save_pretrained."
            )
        with _open(file) as weights:
            found += [(file, name, tuple(weights.get_slice(name).get_shape())) for name in weights.keys()]  # noqa: SIM118
    return found


def _open(file: Path) -> Any:
    return require("safetensors", needed_for="reading weights", install=INSTALL_GGUF).safe_open(file, framework="pt")


def _reader(file: Path, name: str, heads: int | None) -> Callable[[], NDArray[np.float32]]:
    def read() -> NDArray[np.float32]:
        with _open(file) as weights:
            values: NDArray[np.float32] = weights.get_tensor(name).float().numpy()
        return values if heads is None else _interleaved(values, heads)

    return read


def _interleaved(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Queries' and keys' rows as llama.cpp turns them: neighbours make a pair, where Hugging Face pairs the halves."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def _llama3_factors(config: Mapping[str, Any]) -> NDArray[np.float32]:
    """By what Llama 3.1 and later divide each rotary frequency."""
    rope = _rope(config)
    size = _head_size(config, int(config["num_attention_heads"]))
    factor, old = float(rope["factor"]), float(rope["original_max_position_embeddings"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    wavelengths = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, size, 2, dtype=np.float64) / size)
    smooth = np.clip((old / wavelengths - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)
