"""What a run is planned for: published numbers of GPUs, or what this machine's CPU does in a second.

Sources of the table (dense, without sparsity): NVIDIA's data sheets of the H100, H200 and A100 80 GB (all SXM), its
"Ada GPU Architecture" white paper (RTX 4090, with float32 accumulation) and the data sheet of the L40S. float32 is
that of plain cores, since torch leaves TF32 off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

__all__ = ["GPUS", "Gpu", "Hardware", "find_hardware", "machine_memory_gb"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """A published GPU.

    Attributes:
        float32_tflops: Peak of plain cores, in 10¹² operations a second.
        bfloat16_tflops: Peak of tensor cores.
        bandwidth_gb_s: Of its memory, in 10⁹ bytes a second.
        memory_gb: In 10⁹ bytes.
        source: Where the numbers are from.
    """

    float32_tflops: float
    bfloat16_tflops: float
    bandwidth_gb_s: float
    memory_gb: float
    source: str


GPUS: dict[str, Gpu] = {
    "h100": Gpu(67.0, 989.4, 3350.0, 80.0, "NVIDIA H100 SXM data sheet"),
    "h200": Gpu(67.0, 989.4, 4800.0, 141.0, "NVIDIA H200 SXM data sheet"),
    "a100": Gpu(19.5, 312.0, 2039.0, 80.0, "NVIDIA A100 80GB SXM data sheet"),
    "rtx4090": Gpu(82.6, 165.2, 1008.0, 24.0, "NVIDIA Ada GPU architecture white paper"),
    "l40s": Gpu(91.6, 362.05, 864.0, 48.0, "NVIDIA L40S data sheet"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What computes.

    Attributes:
        name: What to call it.
        is_gpu: Whether it is one.
        peak_tflops: Peak of each device in the run's dtype, in 10¹² operations a second.
        bandwidth_gb_s: Of each device's memory, in 10⁹ bytes a second.
        memory_gb: Of each device, in 10⁹ bytes.
        num_devices: How many there are.
        source: Where the numbers are from.
    """

    name: str
    is_gpu: bool
    peak_tflops: float
    bandwidth_gb_s: float
    memory_gb: float
    num_devices: int = 1
    source: str = "given"

    def __post_init__(self) -> None:
        for name in ("peak_tflops", "bandwidth_gb_s", "memory_gb"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be a finite number above 0; got {getattr(self, name)!r}.")
        check_whole("num_gpus", self.num_devices, least=1)


def find_hardware(
    name: str,
    *,
    dtype: str = "float32",
    threads: int = 0,
    memory_gb: float | None = None,
    num_devices: int = 1,
    peak_tflops: float | None = None,
    bandwidth_gb_s: float | None = None,
) -> Hardware:
    """The hardware of a name.

    Args:
        name: A name of `GPUS`, or "cpu" for this machine, which is measured on the spot.
        dtype: Of the run's weights; float32 is slower.
        threads: Of a CPU, how many compute; 0 for torch's own choice.
        memory_gb: In place of the published, or of this machine's; the same of those that follow.
        num_devices: How many GPUs.
        peak_tflops: See `Hardware`.
        bandwidth_gb_s: See `Hardware`.

    Raises:
        ConfigError: The name is unknown, or a number makes no sense.
    """
    if name != "cpu" and name not in GPUS:
        raise ConfigError(
            f"Unknown hardware {name!r}. Known: cpu, {', '.join(GPUS)}. For another, take the nearest and give its own "
            "numbers: --gpu-memory-gb N --assume peak_tflops=N --assume bandwidth_gb_s=N."
        )
    numbers = {"peak_tflops": peak_tflops, "bandwidth_gb_s": bandwidth_gb_s, "memory_gb": memory_gb}
    given = ", ".join(key for key, value in numbers.items() if value is not None)
    but = f"; given: {given}" if given else ""
    if name == "cpu":
        if num_devices != 1:
            raise ConfigError(f"--num-gpus {num_devices} needs --hardware with a GPU: {', '.join(GPUS)}.")
        if peak_tflops is None or bandwidth_gb_s is None:
            measured_tflops, measured_gb_s = _measure_cpu(threads, dtype)
            peak_tflops = measured_tflops if peak_tflops is None else peak_tflops
            bandwidth_gb_s = measured_gb_s if bandwidth_gb_s is None else bandwidth_gb_s
        memory_gb = machine_memory_gb() if memory_gb is None else memory_gb
        return Hardware(
            name="cpu",
            is_gpu=False,
            peak_tflops=peak_tflops,
            bandwidth_gb_s=bandwidth_gb_s,
            memory_gb=memory_gb,
            source=f"measured on this machine, just now{but}",
        )
    gpu = GPUS[name]
    published = gpu.float32_tflops if dtype == "float32" else gpu.bfloat16_tflops
    return Hardware(
        name=name,
        is_gpu=True,
        peak_tflops=published if peak_tflops is None else peak_tflops,
        bandwidth_gb_s=gpu.bandwidth_gb_s if bandwidth_gb_s is None else bandwidth_gb_s,
        memory_gb=gpu.memory_gb if memory_gb is None else memory_gb,
        num_devices=num_devices,
        source=gpu.source + but,
    )


def machine_memory_gb() -> float:
    """This machine's memory in 10⁹ bytes, or a container's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return total / 1e9


def _measure_cpu(threads: int, dtype: str) -> tuple[float, float]:
    """10¹² operations a second of a matrix product, and 10⁹ bytes a second of a copy: the best of a few."""
    import torch

    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        width = 768
        left = torch.randn(width, width, dtype=getattr(torch, dtype))
        product = _fastest(lambda: left @ left, tries=12)
        source = torch.ones(32 * 2**20)  # 128 MiB, more than caches hold
        target = torch.empty_like(source)
        copy = _fastest(lambda: target.copy_(source), tries=4)
    finally:
        torch.set_num_threads(before)
    return 2 * width**3 / product / 1e12, 2 * source.nbytes / copy / 1e9


def _fastest(function: Callable[[], object], *, tries: int) -> float:
    function()
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
