"""What a training runs on: the device, what the processor multiplies fast, and whether the memory will do."""

from __future__ import annotations

from pathlib import Path

from zs_env.errors import ConfigError
from zs_env.tuning.training_settings import TrainingSettings

__all__ = ["can_multiply_bfloat16", "check_memory", "choose_device", "free_memory", "is_memory_error"]

_BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")


def choose_device(asked: str) -> str:
    """The device of a training: "cuda" or "cpu".

    Raises:
        ConfigError: A GPU was asked for, and there is none.
    """
    import torch

    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ConfigError("--device cuda needs a GPU that torch can use, and there is none: leave it out, or give cpu.")
    return "cuda" if there and asked != "cpu" else "cpu"


def can_multiply_bfloat16(device: str) -> bool:
    """Whether matrices in bfloat16 are faster there than in float32."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in _BFLOAT16_FLAGS)


def free_memory(device: str) -> int | None:
    """Bytes that are free; None where that can't be told."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def check_memory(
    num_parameters: int, settings: TrainingSettings, device: str, *, frozen: bool, free: int | None = None
) -> None:
    """Refuse a training whose weights, gradients and optimizer can't fit; what activations need comes on top.

    Args:
        num_parameters: Weights of the model, which is loaded already.
        settings: How it is tuned.
        device: Where.
        frozen: Whether its weights lie in two bytes each.
        free: Bytes that are free; left out: what the system says.

    Raises:
        ConfigError: They can't fit.
    """
    free = free_memory(device) if free is None else free
    if free is None:
        return
    weights = num_parameters * (2 if frozen else 4) if device == "cuda" else 0  # on a processor they are there already
    more = num_parameters * 12 if settings.lora_rank is None else 0  # gradients, and AdamW's two moments
    if weights + more > free:
        raise ConfigError(
            f"Tuning {num_parameters / 1e6:,.0f} million weights needs {(weights + more) / 2**30:,.1f} GiB of memory "
            f"beside activations, and {free / 2**30:,.1f} GiB are free on {device}: give --lora-rank 16, a smaller "
            "model, or more memory."
        )


def is_memory_error(error: BaseException) -> bool:
    """Whether an error of torch's is that the memory doesn't suffice."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
