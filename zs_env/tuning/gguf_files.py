"""From a model's folder in Hugging Face's format to a GGUF file, which llama.cpp serves.

llama.cpp's own converter comes in no wheel of its makers, so the models that simulators are made of (Llama, Mistral,
Qwen2, Qwen3) are written here, with their package `gguf`; `gguf_rewriting` takes what the converter wrote further.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zs_env.errors import ConfigError
from zs_env.files import whole_file
from zs_env.tuning.gguf_kinds import Kind, find_kind, require_gguf, to_type, type_of
from zs_env.tuning.gguf_vocabulary import add_vocabulary
from zs_env.tuning.gguf_weights import Tensor, add_settings, architecture, read_config, tensors
from zs_env.tuning.simulator_file import GGUF_KEY, read_simulator

__all__ = ["check_out", "write_gguf", "write_tensors"]


def write_gguf(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    kind: str = "f16",
    *,
    simulator: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Write a model as a GGUF file, whole or not at all.

    Args:
        folder: A model in Hugging Face's format, its weights as safetensors.
        out: The file, ending in `.gguf`.
        kind: One of `KINDS`.
        simulator: What the file says of its simulator; the folder's `simulator.json` where left out.

    Returns:
        How many tensors there are of each number format.

    Raises:
        ConfigError: The model is of a kind that isn't written here, or isn't whole.
        MissingPackageError: A package is missing.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    wanted = find_kind(kind)
    check_out(out)
    gguf = require_gguf()
    config = read_config(folder)
    simulator = read_simulator(folder) if simulator is None else simulator
    parts = sorted(tensors(folder, config), key=lambda tensor: _place(tensor.name))
    has_output = any(part.name == "output.weight" for part in parts)
    layers = int(config["num_hidden_layers"])
    types = [type_of(wanted, part.name, part.shape, num_layers=layers, has_output=has_output) for part in parts]
    with whole_file(out) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture(config))
        try:
            _add_general(writer, folder, wanted, simulator or {})
            add_settings(writer, config)
            add_vocabulary(writer, folder, config)
            write_tensors(writer, parts, types)
        finally:
            writer.close()
    return {name: types.count(name) for name in dict.fromkeys(types)}


def check_out(out: Path) -> None:
    """See that a path can be a GGUF file's.

    Raises:
        ConfigError: It can't.
    """
    if out.suffix != ".gguf" or out.is_dir():
        raise ConfigError(f"The file to write must end in .gguf, and be no folder; got {out.name!r}.")


def _place(name: str) -> tuple[int, str]:
    """Layers by their number; the embedding, which is large, first."""
    parts = name.split(".")
    return (int(parts[1]) if parts[0] == "blk" else -1 if parts[0] == "token_embd" else 1 << 30, name)


def _add_general(writer: Any, folder: Path, kind: Kind, simulator: Mapping[str, Any]) -> None:
    gguf = require_gguf()
    persona = simulator.get("persona")
    writer.add_type("model")
    writer.add_name(f"{folder.name} ({persona})" if persona else folder.name)
    if simulator.get("base_model"):
        writer.add_finetune(os.path.basename(str(simulator["base_model"])))
    writer.add_file_type(gguf.LlamaFileType[kind.file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if simulator:  # before the vocabulary: whoever looks for it needn't read that
        writer.add_string(GGUF_KEY, json.dumps(simulator, ensure_ascii=False))


def write_tensors(writer: Any, parts: Sequence[Tensor], types: Sequence[str]) -> None:
    """Write a file's tensors behind all else, one at a time.

    Args:
        writer: The package's `GGUFWriter`, which holds the file's settings.
        parts: The tensors.
        types: The number format of each.
    """
    gguf = require_gguf()
    for part, name in zip(parts, types, strict=True):
        number = gguf.GGMLQuantizationType[name]
        block, block_bytes = gguf.GGML_QUANT_SIZES[number]
        plain = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16)}.get(name)
        shape = part.shape if plain else gguf.quants.quant_shape_to_byte_shape(part.shape, number)
        num_bytes = int(np.prod(part.shape)) // block * block_bytes
        writer.add_tensor_info(part.name, shape, plain or np.dtype(np.uint8), num_bytes, number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for part, name in zip(parts, types, strict=True):
        writer.write_tensor_data(to_type(part.read(), name, part.name))
