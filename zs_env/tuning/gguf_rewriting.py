"""From one GGUF file to another: of another kind, and with what its simulator is asked with.

So a file that llama.cpp's own converter wrote, of whatever architecture, becomes any of our kinds, too.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zs_env.engines.llm.gguf import find_gguf
from zs_env.errors import ConfigError
from zs_env.files import whole_file
from zs_env.tuning.gguf_files import check_out, write_tensors
from zs_env.tuning.gguf_kinds import find_kind, require_gguf, type_of
from zs_env.tuning.gguf_weights import Tensor
from zs_env.tuning.simulator_file import GGUF_KEY

__all__ = ["convert", "rewrite_gguf"]

_PLAIN = ("F32", "F16", "BF16")
_WRITTEN_ANEW = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version", GGUF_KEY)


def convert(converter: str, python: str, folder: Path, out: Path) -> None:
    """Let llama.cpp's own converter write a model as f16, or bf16 where its numbers are that.

    Args:
        converter: A checkout's `convert_hf_to_gguf.py`, or a program of that kind.
        python: The Python that runs it, if it is a script.
        folder: The model.
        out: The file.

    Raises:
        ConfigError: It isn't there, or fails; its last words are told.
    """
    if not os.path.isfile(converter):
        raise ConfigError(
            f"--converter must be the file convert_hf_to_gguf.py of llama.cpp; there is no {converter!r}."
        )
    start = [python, converter] if converter.endswith(".py") else [converter]
    command = [*start, str(folder), "--outfile", str(out), "--outtype", "auto"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ConfigError(f"The converter {converter!r} can't be run: {error}.") from error
    if done.returncode or not out.is_file():
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ConfigError(f"The converter {converter!r} wrote no file; it says:\n{said}")


def rewrite_gguf(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    kind: str,
    *,
    simulator: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Write a GGUF file again, of another kind; whole or not at all.

    Args:
        source: A file of f32, f16 or bf16: what is quantised already would lose twice.
        out: The file.
        kind: One of `KINDS`.
        simulator: What the file says of its simulator, in place of what it said.

    Returns:
        How many tensors there are of each number format.

    Raises:
        ConfigError: The source is no such file.
    """
    source, out = find_gguf(source), Path(out).expanduser()
    wanted = find_kind(kind)
    check_out(out)
    gguf = require_gguf()
    reader = gguf.GGUFReader(source)
    quantised = sorted({tensor.tensor_type.name for tensor in reader.tensors} - set(_PLAIN))
    if quantised:
        raise ConfigError(
            f"{source.name!r} is quantised already ({', '.join(quantised)}), and would lose twice: take a file of f16 "
            "or bf16, or the model's folder."
        )
    arch = reader.fields["general.architecture"].contents()
    layers = int(reader.fields[f"{arch}.block_count"].contents())
    has_output = any(tensor.name == "output.weight" for tensor in reader.tensors)
    is_mixed = any(tensor.tensor_type.name != "F32" for tensor in reader.tensors)
    parts, types = [], []
    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        parts.append(Tensor(name=tensor.name, shape=shape, read=_reader(tensor, shape)))
        kept = is_mixed and tensor.tensor_type.name == "F32"  # the converter leaves what must stay so, such as norms
        types.append("F32" if kept else type_of(wanted, tensor.name, shape, num_layers=layers, has_output=has_output))
    with whole_file(out) as temporary:
        writer = gguf.GGUFWriter(temporary, arch)
        try:
            writer.add_file_type(gguf.LlamaFileType[wanted.file_type])
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
            if simulator:
                writer.add_string(GGUF_KEY, json.dumps(simulator, ensure_ascii=False))
            for name, field in reader.fields.items():
                if not name.startswith(_WRITTEN_ANEW):
                    _copy(writer, name, field)
            write_tensors(writer, parts, types)
        finally:
            writer.close()
    return {name: types.count(name) for name in dict.fromkeys(types)}


def _copy(writer: Any, name: str, field: Any) -> None:
    kind = field.types[0]
    inner = field.types[-1] if kind == require_gguf().GGUFValueType.ARRAY else None
    writer.add_key_value(name, field.contents(), kind, sub_type=inner)


def _reader(tensor: Any, shape: tuple[int, ...]) -> Callable[[], NDArray[np.float32]]:
    def read() -> NDArray[np.float32]:
        values: NDArray[np.float32] = require_gguf().quants.dequantize(tensor.data, tensor.tensor_type)
        return values.reshape(shape)

    return read
