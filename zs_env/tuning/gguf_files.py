"""From a model's folder in Hugging Face's format to a GGUF file, which llama.cpp serves.

llama.cpp's own converter comes in no wheel, so the models that simulators are made of (Llama, Mistral, Qwen2, Qwen3)
are written here, with the package `gguf` of llama.cpp's makers; `converter` takes any other to a checkout's
`convert_hf_to_gguf.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.files import sync_file, sync_folder, write_json
from zs_env.tuning.gguf_kinds import Kind, find_kind, require_gguf, to_type, type_of
from zs_env.tuning.gguf_vocabulary import add_vocabulary
from zs_env.tuning.gguf_weights import Tensor, add_settings, architecture, read_config, tensors
from zs_env.tuning.simulator_file import GGUF_KEY, read_simulator, sidecar

__all__ = ["write_gguf"]


def write_gguf(folder: str | os.PathLike[str], out: str | os.PathLike[str], kind: str = "f16") -> dict[str, Any]:
    """Write a model as a GGUF file, and beside it, as `FILE.gguf.json`, what its simulator is asked with.

    The file is there whole or not at all.

    Args:
        folder: A model in Hugging Face's format, its weights as safetensors; a `simulator.json` in it goes along.
        out: The file, ending in `.gguf`.
        kind: One of `KINDS`.

    Returns:
        What was written: `kind`, `bytes`, `tensors` (how many of each format) and `simulator` (its settings, or None).

    Raises:
        ConfigError: The model is of a kind that isn't written here, or isn't whole.
        MissingPackageError: A package is missing.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    wanted = find_kind(kind)
    if out.suffix != ".gguf":
        raise ConfigError(f"The file to write must end in .gguf; got {out.name!r}.")
    gguf = require_gguf()
    config = read_config(folder)
    simulator = read_simulator(folder)
    parts = sorted(tensors(folder, config), key=lambda tensor: _place(tensor.name))
    types = _types(wanted, config, parts)
    with _whole(out) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture(config))
        try:
            _add_general(writer, folder, config, wanted, simulator)
            add_settings(writer, config)
            add_vocabulary(writer, folder, config)
            _write(writer, parts, types)
        finally:
            writer.close()
    if simulator is not None:
        simulator = {**simulator, "quantisation": {"format": "gguf", "kind": wanted.name}}
        write_json(sidecar(out), simulator)
    else:
        sidecar(out).unlink(missing_ok=True)
    counts: dict[str, int] = {}
    for name in types:
        counts[name] = counts.get(name, 0) + 1
    return {"kind": wanted.name, "bytes": out.stat().st_size, "tensors": counts, "simulator": simulator}


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A file to write, which takes its place once it is whole and on the disk."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, out)
        sync_folder(out.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _place(name: str) -> tuple[int, str]:
    """Layers by their number; the embedding, which is large, first."""
    parts = name.split(".")
    return (int(parts[1]) if parts[0] == "blk" else -1 if parts[0] == "token_embd" else 1 << 30, name)


def _types(kind: Kind, config: Mapping[str, Any], parts: list[Tensor]) -> list[str]:
    has_output = any(part.name == "output.weight" for part in parts)
    layers = int(config["num_hidden_layers"])
    return [type_of(kind, part.name, part.shape, num_layers=layers, has_output=has_output) for part in parts]


def _add_general(
    writer: Any, folder: Path, config: Mapping[str, Any], kind: Kind, simulator: Mapping[str, Any] | None
) -> None:
    gguf = require_gguf()
    base = str((simulator or {}).get("base_model") or config.get("_name_or_path") or "")
    persona = (simulator or {}).get("persona")
    writer.add_type("model")
    writer.add_name(f"{folder.name} ({persona})" if persona else folder.name)
    writer.add_file_type(gguf.LlamaFileType[kind.file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if base:
        writer.add_finetune(os.path.basename(base))
    if simulator is not None:  # before the vocabulary: whoever looks for it needn't read that
        record = {**simulator, "quantisation": {"format": "gguf", "kind": kind.name}}
        writer.add_string(GGUF_KEY, json.dumps(record, ensure_ascii=False))


def _write(writer: Any, parts: list[Tensor], types: list[str]) -> None:
    """Write the tensors, one at a time."""
    import numpy as np

    gguf = require_gguf()
    for part, name in zip(parts, types, strict=True):
        number = gguf.GGMLQuantizationType[name]
        if name in ("F32", "F16"):
            size = 4 if name == "F32" else 2
            shape, dtype = part.shape, np.dtype(f"f{size}")
            num_bytes = int(np.prod(shape)) * size
        else:
            shape, dtype = gguf.quant_shape_to_byte_shape(part.shape, number), np.dtype(np.uint8)
            num_bytes = int(np.prod(shape))
        writer.add_tensor_info(part.name, shape, dtype, num_bytes, number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for part, name in zip(parts, types, strict=True):
        writer.write_tensor_data(to_type(part.read(), name, part.name))
