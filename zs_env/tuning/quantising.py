"""Makes a tuned simulator smaller: GGUF files for llama.cpp, FP8 and 4 bits for GPUs.

    quantise("runs/sim/model", "gguf:q8_0", "runs/sim/sim-q8_0.gguf")
    quantise("runs/sim/model", "fp8", "runs/sim/model-fp8", python="quantise/bin/python")

What comes knows what it is asked with (`simulator_file`) and what it was made of: the same call again finds it done,
and another one over it is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from zs_env.errors import ConfigError
from zs_env.files import write_folder, write_json
from zs_env.serving.checks import probe
from zs_env.tuning.gguf_files import check_out, write_gguf
from zs_env.tuning.gguf_kinds import KINDS, find_kind
from zs_env.tuning.gguf_rewriting import convert, rewrite_gguf
from zs_env.tuning.gguf_weights import read_config
from zs_env.tuning.simulator_file import SCHEMA, SIMULATOR_FILE, read_simulator, sidecar

__all__ = ["GPU_FORMATS", "INSTALL_COMPRESSOR", "QuantiseSettings", "quantise"]

GPU_FORMATS = ("fp8", "gptq", "awq")
"""Formats of the library llm-compressor, which vLLM and sglang read: compressed-tensors."""

INSTALL_COMPRESSOR = 'pip install "torch>=2.10,<=2.13.0" "llmcompressor>=0.14,<0.15"'

_PROGRAM = Path(__file__).with_name("compressing_program.py")
_SAMPLE_BYTES = 1 << 20
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "chat_template*", "generation_config.json", "merges.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantiseSettings:
    """What a model is made into.

    Attributes:
        to: `gguf:KIND`, with one of `KINDS`; or one of `GPU_FORMATS`.
        data: Examples to calibrate gptq and awq on, such as the `train.jsonl` that the simulator was trained on.
        samples: How many of them.
        max_tokens: The longest of them; the rest of it is left out.
        group_size: How many columns share a scale in gptq and awq. Left out: 128, or else 64 or 32 where the model's
            widths aren't multiples of that.
        python: The Python that runs llm-compressor (or `converter`), such as one of a virtual environment of its own.
        converter: llama.cpp's `convert_hf_to_gguf.py`, for models that aren't written here.
    """

    to: str
    data: str | None = None
    samples: int = 128
    max_tokens: int = 1024
    group_size: int | None = None
    python: str = sys.executable
    converter: str | None = None

    def __post_init__(self) -> None:
        known = [*(f"gguf:{name}" for name in KINDS), *GPU_FORMATS]
        if self.to not in known:
            raise ConfigError(f"What a model is made into must be one of {', '.join(known)}; got {self.to!r:.100}.")
        for name in ("samples", "max_tokens"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1; got {value!r}.")
        if self.group_size is not None and self.group_size not in (32, 64, 128):
            raise ConfigError(f"group_size must be 32, 64 or 128, which GPU kernels know; got {self.group_size!r}.")
        if self.to in ("gptq", "awq") and self.data is None:
            raise ConfigError(
                f"{self.to} chooses its 4 bits by what the model meets: give examples as data, such as the train.jsonl "
                "that it was trained on. fp8 needs none."
            )
        if self.data is not None and self.to not in ("gptq", "awq"):
            raise ConfigError(f"{self.to} takes no examples (got data={self.data!r}): leave them out.")
        if self.converter is not None and self.to in GPU_FORMATS:
            raise ConfigError(f"{self.to} has no converter (got {self.converter!r}): leave it out.")


def quantise(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: QuantiseSettings,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Make a model smaller.

    Args:
        model: A folder in Hugging Face's format; for GGUF also a `.gguf` file of f16, bf16 or f32.
        out: The file, or for a GPU format the folder.
        settings: What it is made into.
        say: Gets what is to be told meanwhile, a line each.

    Returns:
        What was made: `to`, `source` (a fingerprint), what it took, `bytes`, and `done_before`.

    Raises:
        ConfigError: The model can't be made into that, or something else stands in its place.
        MissingPackageError: A package is missing.
    """
    model, out = Path(model).expanduser(), Path(out).expanduser()
    is_file = model.suffix == ".gguf"
    if is_file and settings.to in GPU_FORMATS:
        raise ConfigError(f"{settings.to} is made of a model's folder, not of a .gguf file; got {model.name!r}.")
    config = {} if is_file else read_config(model)
    if settings.to in ("gptq", "awq") and settings.group_size is None:
        settings = replace(settings, group_size=_group_size(config))
    wanted = _wanted(model, settings)
    if settings.to.startswith("gguf:"):
        check_out(out)
    if out.exists():
        _check_same(out, wanted)
        return {**wanted, "bytes": _num_bytes(out), "done_before": True}
    record = {"schema": SCHEMA, **_without_verdict(read_simulator(model) or {}), "quantisation": wanted}
    if settings.to in GPU_FORMATS:
        say(f"{settings.to}: llm-compressor begins")
        _compress(model, out, settings, record)
    else:
        _write_gguf(model, out, settings, record)
    return {**wanted, "bytes": _num_bytes(out), "done_before": False}


def _write_gguf(model: Path, out: Path, settings: QuantiseSettings, record: Mapping[str, Any]) -> None:
    kind = find_kind(settings.to.partition(":")[2]).name
    if model.suffix == ".gguf":
        rewrite_gguf(model, out, kind, simulator=record)
    elif settings.converter is None:
        write_gguf(model, out, kind, simulator=record)
    else:
        between = out.with_name(f".{out.stem}.{os.getpid()}.gguf")
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            convert(settings.converter, settings.python, model, between)
            rewrite_gguf(between, out, kind, simulator=record)
        finally:
            between.unlink(missing_ok=True)
    write_json(sidecar(out), record)


def _compress(model: Path, out: Path, settings: QuantiseSettings, record: Mapping[str, Any]) -> None:
    probe(
        settings.python,
        "llmcompressor",
        ("llmcompressor",),
        install=INSTALL_COMPRESSOR,
        needed_by=f"Quantising to {settings.to}",
    )

    def fill(folder: Path) -> None:
        command = [settings.python, str(_PROGRAM), "--model", str(model), "--out", str(folder), "--scheme", settings.to]
        if settings.data is not None:
            command += ["--data", settings.data, "--samples", str(settings.samples)]
            command += ["--max-tokens", str(settings.max_tokens), "--group-size", str(settings.group_size)]
        log = out.with_name(f"{out.name}.log")
        with log.open("wb") as file:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False).returncode
        if status or not (folder / "config.json").is_file():
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise ConfigError(f"llm-compressor made no model; {log.name} ends:\n" + "\n".join(said))
        log.unlink()
        for pattern in _TOKENIZER_FILES:  # its own, letter for letter: another release would write them otherwise
            for file_to_copy in model.glob(pattern):
                shutil.copyfile(file_to_copy, folder / file_to_copy.name)
        write_json(folder / SIMULATOR_FILE, record)

    write_folder(out, fill)


def _group_size(config: Mapping[str, Any]) -> int:
    widths = (int(config["hidden_size"]), int(config["intermediate_size"]))
    for size in (128, 64, 32):
        if all(width % size == 0 for width in widths):
            return size
    raise ConfigError(f"4 bits in groups need widths that are multiples of 32; the model's are {widths}. Take fp8.")


def _wanted(model: Path, settings: QuantiseSettings) -> dict[str, Any]:
    """What is to be made, of what: equal for equal calls, without paths."""
    wanted: dict[str, Any] = {"to": settings.to, "source": _fingerprint(model)}
    if settings.data is not None:
        path = Path(settings.data).expanduser()
        if not path.is_file():
            raise ConfigError(f"The examples to calibrate on must be a file of JSON lines; there is no {str(path)!r}.")
        wanted |= {"data": _fingerprint(path), "samples": settings.samples, "max_tokens": settings.max_tokens}
        wanted["group_size"] = settings.group_size
    return wanted


def _without_verdict(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a simulator says of itself, but for a gate's verdict, which is of the very file that was asked."""
    return {name: value for name, value in record.items() if name != "gate"}


def _open(file: Path) -> BinaryIO:
    """A file to read; of `simulator.json` what it said before a gate wrote its verdict there."""
    told = read_simulator(file) if file.name == SIMULATOR_FILE else None
    if told is None or "gate" not in told:
        return file.open("rb")
    return io.BytesIO((json.dumps(_without_verdict(told), indent=2, ensure_ascii=False) + "\n").encode())


def _fingerprint(source: Path) -> str:
    """A short hash of a file, or of a model's weights, settings and tokenizer: of large ones, samples."""
    files = [source]
    if source.is_dir():
        names = ("*.safetensors", "config.json", "tokenizer.json", "chat_template*", SIMULATOR_FILE)
        files = sorted(file for name in names for file in source.glob(name))
    elif not source.is_file():
        raise ConfigError(f"There is no model at {str(source)!r}.")
    seen = hashlib.sha256()
    for file in files:
        with _open(file) as stream:
            size = stream.seek(0, os.SEEK_END)
            seen.update(f"{file.name if source.is_dir() else ''}:{size}\n".encode())
            step = max(size // 8, _SAMPLE_BYTES)
            for start in range(0, size, step):
                stream.seek(start)
                seen.update(stream.read(_SAMPLE_BYTES))
            stream.seek(max(size - _SAMPLE_BYTES, 0))
            seen.update(stream.read())
    return seen.hexdigest()[:16]


def _check_same(out: Path, wanted: Mapping[str, Any]) -> None:
    found = (read_simulator(out) or {}).get("quantisation")
    if not isinstance(found, dict):
        raise ConfigError(f"{out.name!r} is there already, and wasn't made by this command: give another --out.")
    differs = [
        f"{name} {found.get(name)!r}, not {value!r}" for name, value in wanted.items() if found.get(name) != value
    ]
    if differs or set(found) - set(wanted):
        raise ConfigError(
            f"{out.name!r} is there already, and was made otherwise ({'; '.join(differs) or 'with other settings'}): "
            "give another --out, or delete it."
        )


def _num_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
