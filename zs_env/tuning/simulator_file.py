"""What a tuned simulator is to be asked with: `simulator.json` in its folder, or what its GGUF file says.

A simulator learnt one prompt, one persona and one length of documents; asked with others, it is another. So these stand
beside its weights: as `simulator.json` in a folder, as `FILE.gguf.json` beside a GGUF file, and inside that file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from zs_env.errors import ConfigError

__all__ = ["GGUF_KEY", "SCHEMA", "SIMULATOR_FILE", "read_simulator", "sidecar", "simulation_options"]

SCHEMA = "zerosearch.tuned_simulator/1"
SIMULATOR_FILE = "simulator.json"
GGUF_KEY = "zerosearch.simulator"
"""The key inside a GGUF file."""

_OPTIONS = ("persona", "style", "language", "document_words", "prompts")

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MAX_BYTES = 1 << 24


def sidecar(file: Path) -> Path:
    """Where the settings of a GGUF file stand beside it."""
    return file.with_name(file.name + ".json")


def read_simulator(model: Path) -> dict[str, Any] | None:
    """What stands beside a model, or in its file.

    Args:
        model: A folder, a GGUF file, or a `simulator.json` itself.

    Returns:
        The content of its `simulator.json`; None if there is none: it isn't a simulator of ours, or one made before.

    Raises:
        ConfigError: It can't be read, or is of another version.
    """
    beside = model / SIMULATOR_FILE if model.is_dir() else model if model.suffix == ".json" else sidecar(model)
    text: str | None = None
    try:
        if beside.is_file():
            text = beside.read_text(encoding="utf-8")
        elif model.is_file():
            text = _inside(model)
        record = None if text is None else json.loads(text)
    except (OSError, ValueError, struct.error) as error:
        raise ConfigError(f"The settings of the simulator {model.name!r} can't be read: {error}.") from error
    if record is not None and (not isinstance(record, dict) or record.get("schema") != SCHEMA):
        found = record.get("schema") if isinstance(record, dict) else record
        raise ConfigError(f"{beside.name!r} must be of {SCHEMA}; it says {found!r:.100}.")
    return record


def simulation_options(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `simulate_sft` is to be given for a simulator.

    Args:
        record: What `read_simulator` gave.

    Examples:
        >>> simulation_options({"persona": "Wikipedia", "style": None, "document_words": 25, "topk": 2})
        {'persona': 'Wikipedia', 'document_words': 25}
    """
    return {name: record[name] for name in _OPTIONS if record is not None and record.get(name)}


def _inside(file: Path) -> str | None:
    """What a GGUF file itself says; it is read up to its vocabulary, before which ours stands."""
    with file.open("rb") as stream:
        magic, version, _, count = struct.unpack("<4sIQQ", stream.read(24))
        if magic != _MAGIC or version < 2:
            return None
        for _ in range(count):
            key = _string(stream)
            (kind,) = struct.unpack("<I", stream.read(4))
            if key.startswith("tokenizer."):
                return None
            if key == GGUF_KEY and kind == _STRING:
                return _string(stream)
            _skip(stream, kind)
    return None


def _string(stream: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > _MAX_BYTES:
        raise ValueError(f"a text of {length} bytes")
    return stream.read(length).decode("utf-8", "replace")


def _skip(stream: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _string(stream)
    elif kind == _ARRAY:
        inner, length = struct.unpack("<IQ", stream.read(12))
        if inner == _STRING:
            for _ in range(length):
                _string(stream)
        else:
            stream.seek(_SIZES[inner] * length, 1)
    else:
        stream.seek(_SIZES[kind], 1)
