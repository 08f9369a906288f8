"""The kinds of GGUF files that we write: which number format each tensor gets, and its numbers in it.

Plain formats and blocks of 32 are the package `gguf`'s own arithmetic. The k-quants (`q4_k_m`, `q5_k_m`, `q6_k`) are
llama.cpp's, called in the library inside the package `xllamacpp`. Which tensor gets which of them follows llama.cpp's
`llama-quantize`: the output layer and the layers that matter most get more bits, and a row that isn't a multiple of 256
numbers long falls back to blocks of 32.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zs_env.errors import ConfigError, MissingPackageError, require

__all__ = ["INSTALL_GGUF", "KINDS", "Kind", "find_kind", "require_gguf", "to_type", "type_of"]

INSTALL_GGUF = 'pip install "gguf>=0.19" "torch<=2.13.0" "transformers>=5.20,<6" safetensors'

_K_BLOCK = 256
_BLOCK = 32
_LARGEST_F16 = 65504.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of file.

    Attributes:
        name: As in `--to gguf:NAME`.
        file_type: What `general.file_type` says: a name of the package's `LlamaFileType`.
        matrix: The format of most matrices: a name of the package's `GGMLQuantizationType`.
        output: The format of the output layer, which is the embedding where both are one.
        more: The format of the attention's values and of the layers down, where these matter most.
    """

    name: str
    file_type: str
    matrix: str
    output: str
    more: str


def _kind(name: str, file_type: str, matrix: str, output: str | None = None, more: str | None = None) -> Kind:
    return Kind(name=name, file_type=file_type, matrix=matrix, output=output or matrix, more=more or matrix)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            _kind("f32", "ALL_F32", "F32"),
            _kind("f16", "MOSTLY_F16", "F16"),
            _kind("bf16", "MOSTLY_BF16", "BF16"),
            _kind("q8_0", "MOSTLY_Q8_0", "Q8_0"),
            _kind("q6_k", "MOSTLY_Q6_K", "Q6_K"),
            _kind("q5_k_m", "MOSTLY_Q5_K_M", "Q5_K", "Q6_K", "Q6_K"),
            _kind("q4_k_m", "MOSTLY_Q4_K_M", "Q4_K", "Q6_K", "Q6_K"),
            _kind("q5_0", "MOSTLY_Q5_0", "Q5_0", "Q8_0"),
            _kind("q4_0", "MOSTLY_Q4_0", "Q4_0", "Q8_0"),
        )
    }
)
"""The kinds, by name, the largest files first."""

_SHORT_ROWS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def find_kind(name: str) -> Kind:
    """The kind of a name, in any case of letters.

    Raises:
        ConfigError: There is none.
    """
    kind = KINDS.get(name.lower())
    if kind is None:
        raise ConfigError(f"The kind of a GGUF file must be one of {', '.join(KINDS)}; got {name!r:.100}.")
    return kind


def require_gguf() -> Any:
    """The package `gguf`.

    Raises:
        MissingPackageError: It isn't installed.
    """
    return require("gguf", needed_for="writing GGUF files", install=INSTALL_GGUF)


def type_of(kind: Kind, name: str, shape: tuple[int, ...], *, num_layers: int, has_output: bool) -> str:
    """The format of a tensor.

    Args:
        kind: The kind of file.
        name: The tensor's name in GGUF, such as `blk.3.attn_v.weight`.
        shape: Rows by columns; norms and biases have one dimension, and stay as they are.
        num_layers: Of the model.
        has_output: Whether the output layer has a tensor of its own.

    Returns:
        A name of `GGMLQuantizationType`.

    Examples:
        >>> type_of(KINDS["q4_k_m"], "blk.0.attn_v.weight", (64, 512), num_layers=8, has_output=True)
        'Q6_K'
        >>> type_of(KINDS["q4_k_m"], "blk.0.attn_q.weight", (576, 576), num_layers=8, has_output=True)
        'Q5_0'
    """
    if len(shape) < 2 or "rope_freqs" in name:
        return "F32"
    wanted = kind.matrix
    if name == "output.weight" or (name == "token_embd.weight" and not has_output):
        wanted = kind.output
    elif name.endswith(("attn_v.weight", "ffn_down.weight")) and _matters_more(int(name.split(".")[1]), num_layers):
        wanted = kind.more
    if wanted in _SHORT_ROWS and shape[-1] % _K_BLOCK:
        wanted = _SHORT_ROWS[wanted]
    return wanted if wanted in ("F32", "F16", "BF16") or shape[-1] % _BLOCK == 0 else "F16"


def _matters_more(layer: int, num_layers: int) -> bool:
    eighth = num_layers // 8
    return layer < eighth or layer >= 7 * num_layers // 8 or (layer - eighth) % 3 == 2


def to_type(values: NDArray[np.float32], type_name: str, tensor: str) -> NDArray[Any]:
    """Numbers in a format.

    Args:
        values: The tensor.
        type_name: What `type_of` gave.
        tensor: Its name, for messages.

    Raises:
        ConfigError: A number is too large for the format, or isn't finite.
        MissingPackageError: A k-quant is wanted without `xllamacpp`.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        raise ConfigError(f"The tensor {tensor} holds numbers that aren't finite: the model is broken.")
    if type_name == "F16" and largest > _LARGEST_F16:
        raise ConfigError(f"The tensor {tensor} holds {largest:g}, which f16 can't: take bf16 or f32.")
    if type_name in _SHORT_ROWS:
        return _k_quant(values, type_name)
    gguf = require_gguf()
    made: NDArray[Any] = gguf.quants.quantize(values, gguf.GGMLQuantizationType[type_name])
    return made


def _k_quant(values: NDArray[np.float32], type_name: str) -> NDArray[np.uint8]:
    gguf = require_gguf()
    library = _llamacpp()
    number = gguf.GGMLQuantizationType[type_name]
    block, block_bytes = gguf.GGML_QUANT_SIZES[number]
    rows, columns = values.shape
    values = np.ascontiguousarray(values, dtype=np.float32)
    made = np.empty((rows, columns // block * block_bytes), dtype=np.uint8)
    library.ggml_quantize_chunk(int(number), values.ctypes.data, made.ctypes.data, 0, rows, columns, None)
    return made


@cache
def _llamacpp() -> Any:
    """llama.cpp's library, by its public C functions."""
    spec = importlib.util.find_spec("xllamacpp")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    for place in places:
        for file in sorted(Path(place).glob("xllamacpp*.so")):
            library = ctypes.CDLL(str(file))
            if hasattr(library, "ggml_quantize_chunk"):
                library.ggml_quantize_chunk.restype = ctypes.c_size_t
                library.ggml_quantize_chunk.argtypes = (
                    ctypes.c_int,
                    *(ctypes.c_void_p, ctypes.c_void_p),
                    *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),
                    ctypes.c_void_p,
                )
                return library
    raise MissingPackageError(
        "k-quants (q4_k_m, q5_k_m, q6_k) are computed by llama.cpp's library in the package 'xllamacpp', which isn't "
        "installed, or doesn't show it on this system. Install it with: pip install xllamacpp; or take q8_0, q5_0 or "
        "q4_0, or make them from an f16 file with llama.cpp's llama-quantize."
    )
