"""Which device a model computes on."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

__all__ = ["check_device", "device_of_gpus", "resolve_device"]


def check_device(device: str) -> None:
    """Refuse what names no device, whether or not this machine has it.

    Raises:
        ConfigError: It is none of "auto", "cpu", "cuda" and "cuda:<number>".
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ConfigError(f"device must be 'auto', 'cpu', 'cuda' or a GPU by number such as 'cuda:1'; got {device!r}.")


def resolve_device(device: str, *, say: Callable[[str], None] | None = None) -> torch.device:
    """The device that a name stands for here.

    Args:
        device: "auto" (a GPU if torch sees one), "cpu", "cuda" or "cuda:<number>".
        say: Is told in a line what "auto" is; nothing if left out.

    Raises:
        ConfigError: The name is wrong, or torch sees no such GPU.
    """
    check_device(device)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        found = torch.device("cuda" if count else "cpu")
        if say:
            say(f"Device: {found} ({torch.cuda.get_device_name(0)})" if count else "Device: cpu (torch sees no GPU)")
        return found
    found = torch.device(device)
    if found.type == "cuda" and (found.index or 0) >= count:
        raise ConfigError(f"device {device!r}: torch sees {_gpus(count)}. Choose 'cpu', or 'auto' for what there is.")
    return found


def device_of_gpus(num_gpus: int) -> str:
    """The device that a number of GPUs asks for: 0 is "cpu", 1 is "cuda".

    Raises:
        ConfigError: There are not as many, or it is more than one.
    """
    check_whole("num_gpus", num_gpus, least=0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_gpus > 1:
        raise ConfigError(
            f"num_gpus={num_gpus}: one process trains on one GPU. For several, give --executor ray with --num-learners "
            f"and --num-samplers, a GPU each; or 1, or 0 for the CPU (torch sees {_gpus(count)})."
        )
    if num_gpus > count:
        raise ConfigError(f"num_gpus={num_gpus}: torch sees {_gpus(count)}. Give 0 for the CPU.")
    return "cuda" if num_gpus else "cpu"


def _gpus(count: int) -> str:
    return {0: "no GPU", 1: "1 GPU (cuda:0)"}.get(count, f"{count} GPUs (cuda:0 to cuda:{count - 1})")
