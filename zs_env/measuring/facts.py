"""How large a simulator's model is, read from its files without loading it."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from zs_env.errors import ConfigError
from zs_env.measuring.describing import simulation_settings
from zs_env.tuning.simulator_file import read_simulator
from zs_env.types import SearchEngine

__all__ = ["engine_facts", "model_facts"]

_MAX_BYTES = 1 << 24
_STRING, _ARRAY = 8, 9
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_FILE_TYPES = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k", 11: "q3_k_s", 12: "q3_k_m",
    13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s", 17: "q5_k_m", 18: "q6_k", 32: "bf16",
}  # fmt: skip
"""llama.cpp's `LlamaFileType`: what most of a file's matrices are written in."""


def model_facts(path: Path) -> dict[str, Any]:
    """The size of a model.

    Args:
        path: A GGUF file, or a folder with a model in Hugging Face's format.

    Returns:
        `parameters`, `bytes` (of its weights on the disk) and `quantisation` (as "q4_k_m", "f16", "gptq"), each None
        where it can't be told.

    Raises:
        ConfigError: A file of it is broken.
    """
    try:
        return _of_folder(path) if path.is_dir() else _of_gguf(path)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise ConfigError(f"The size of the model {path.name!r} can't be read: {error}.") from error


def engine_facts(engine: SearchEngine, *, file: Path | None = None, tuned: bool | None = None) -> dict[str, Any] | None:
    """What is known of a simulated engine's model.

    Args:
        engine: The engine.
        file: Where its weights lie, if they lie here; of a model in this process that is known.
        tuned: Whether it was tuned to play the search engine. Left out: no for the long prompt, which is for models
            that weren't; yes where a `simulator.json` of ours says how; else not known.

    Returns:
        What `model_facts` says (each None where the weights don't lie here), `tuned` and `mode`; None for an engine
        that isn't simulated.
    """
    settings = simulation_settings(engine)
    if settings is None:
        return None
    inside: Any = engine
    while file is None and inside is not None:  # wrappers around it
        found = getattr(getattr(inside, "client_settings", None), "file", None)
        file, inside = (found if isinstance(found, Path) else None), getattr(inside, "engine", None)
    size = {"parameters": None, "bytes": None, "quantisation": None} if file is None else model_facts(file)
    if tuned is None and settings.mode == "prompt":
        tuned = False
    elif tuned is None and file is not None and read_simulator(file) is not None:
        tuned = True
    return {**size, "tuned": tuned, "mode": settings.mode}


def _of_folder(folder: Path) -> dict[str, Any]:
    files = sorted(folder.glob("*.safetensors"))
    parameters, types = 0, Counter[str]()
    for file in files:
        for kind, shape in _tensors_of(file):
            parameters += math.prod(shape)
            types[kind] += math.prod(shape)
    config = folder / "config.json"
    given = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    packed = given.get("quantization_config")
    method = packed.get("quant_method") if isinstance(packed, Mapping) else None
    most = types.most_common(1)
    return {
        "parameters": None if method or not files else parameters,  # packed weights are counted by the word
        "bytes": sum(file.stat().st_size for file in files) or None,
        "quantisation": method or (most[0][0].lower() if most else None),
    }


def _tensors_of(file: Path) -> Iterator[tuple[str, list[int]]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _MAX_BYTES * 8:
            raise ValueError(f"{file.name} has a header of {length} bytes")
        header = json.loads(stream.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            yield entry["dtype"], entry["shape"]


def _of_gguf(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        magic, version, num_tensors, num_keys = struct.unpack("<4sIQQ", stream.read(24))
        if magic != b"GGUF" or version < 2:
            raise ValueError("it is no GGUF file of version 2 or later")
        file_type: Any = None
        for _ in range(num_keys):
            key = _string(stream)
            (kind,) = struct.unpack("<I", stream.read(4))
            value = _value(stream, kind)
            if key == "general.file_type":
                file_type = value
        parameters = 0
        for _ in range(num_tensors):
            _string(stream)
            (num_sides,) = struct.unpack("<I", stream.read(4))
            parameters += math.prod(struct.unpack(f"<{num_sides}Q", stream.read(8 * num_sides)))
            stream.seek(12, 1)
    return {
        "parameters": parameters,
        "bytes": file.stat().st_size,
        "quantisation": None if file_type is None else _FILE_TYPES.get(file_type, f"type {file_type}"),
    }


def _string(stream: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > _MAX_BYTES:
        raise ValueError(f"it has a text of {length} bytes")
    return stream.read(length).decode("utf-8", "replace")


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(stream)
    if kind == _ARRAY:
        inner, length = struct.unpack("<IQ", stream.read(12))
        if inner in (_STRING, _ARRAY):
            for _ in range(length):
                _value(stream, inner)
        else:
            stream.seek(struct.calcsize(_FORMATS[inner]) * length, 1)
        return None
    form = _FORMATS[kind]
    return struct.unpack(form, stream.read(struct.calcsize(form)))[0]
