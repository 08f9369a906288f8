"""Whether a quantised model and a server go together, found before a start that would take minutes to fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from zs_env.errors import ConfigError, ServerError

__all__ = ["check_capability", "check_method", "compute_capability", "needs_fp8"]

_FP8_IN_HARDWARE = 8.9
_FP8_AT_ALL = 8.0


def check_method(folder: str, config: Mapping[str, Any], quantization: str | None) -> None:
    """See that what is asked for is how a model's files are quantised.

    Both servers read that from `config.json`, and end at a `--quantization` that says otherwise.

    Args:
        folder: The model's, for messages.
        config: The content of its `config.json`.
        quantization: What is asked for, if anything.

    Raises:
        ConfigError: It isn't.
    """
    found = (config.get("quantization_config") or {}).get("quant_method")
    wanted = (quantization or "").removesuffix("_marlin")
    if not wanted or found == wanted:
        return
    if found:
        release = f"a release of the model in {wanted.upper()}" if wanted != "fp8" else "the model before it was that"
        raise ConfigError(
            f"quantization {quantization!r} needs a model whose files are quantised so, or not at all; those in "
            f"{folder!r} are quantised by {found!r}. Leave quantization out: servers take it from the files. For "
            f"{wanted} itself, take {release}."
        )
    if wanted != "fp8":
        raise ConfigError(
            f"quantization {quantization!r} needs a model whose files are quantised so; those in {folder!r} are not "
            f"quantised. Take the model's {wanted.upper()} release, make one with `tune quantise --to {wanted}`, or "
            "take 'fp8', which quantises any model while it is loaded."
        )


def needs_fp8(config: Mapping[str, Any], quantization: str | None) -> bool:
    """Whether a model will be held in FP8: its files are, or it becomes so while it is loaded."""
    settings = config.get("quantization_config") or {}
    groups = (settings.get("config_groups") or {}).values()
    weights = [group.get("weights") or {} for group in groups if isinstance(group, Mapping)]
    stored = any(each.get("type") == "float" and each.get("num_bits") == 8 for each in weights)
    return "fp8" in (quantization, settings.get("quant_method")) or stored


def check_capability(capability: float | None) -> str:
    """See that the GPUs can hold a model in FP8.

    Args:
        capability: What `compute_capability` gave.

    Returns:
        What is to be said of it before a start; empty if there is nothing.

    Raises:
        ServerError: They can't.
    """
    if capability is None or capability >= _FP8_IN_HARDWARE:
        return ""
    if capability >= _FP8_AT_ALL:
        return f"these GPUs (compute capability {capability}) hold FP8 and compute in 16 bits: it saves memory alone."
    raise ServerError(
        f"There is no FP8 on a GPU of compute capability {capability}: that takes {_FP8_AT_ALL}, or "
        f"{_FP8_IN_HARDWARE} (Ada, Hopper and later) to compute in it. Take the model as it is, or in 4 bits."
    )


def compute_capability() -> float | None:
    """The lowest compute capability of NVIDIA's GPUs that a server may use; None if that can't be told."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=index,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    found = {row[1]: float(row[2]) for row in re.finditer(r"^\s*(\d+),\s*(\d+\.\d+)\s*$", done.stdout, re.MULTILINE)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and all(name.strip() in found for name in visible.split(",")):
        found = {name.strip(): found[name.strip()] for name in visible.split(",")}
    return min(found.values(), default=None)
