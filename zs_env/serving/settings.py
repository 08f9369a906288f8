"""What a simulator server is started with, the same words for every backend."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from zs_env.errors import ConfigError

__all__ = ["DEFAULT_PORT", "QUANTIZATIONS", "Backend", "ServeSettings"]

Backend = Literal["sglang", "vllm", "llamacpp"]

BACKENDS: tuple[Backend, ...] = ("sglang", "vllm", "llamacpp")

DEFAULT_PORT = 6001
"""The paper's port for simulators."""

QUANTIZATIONS = ("awq", "gptq", "fp8", "awq_marlin", "gptq_marlin")
"""What `quantization` may be: names that sglang and vLLM both know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """A simulator server.

    Attributes:
        backend: What serves: sglang or vllm, mostly on GPUs; llamacpp (from the package xllamacpp) on a CPU.
        model: A folder in Hugging Face's format or an id on the hub; for llamacpp a `.gguf` file, or "smollm2".
        host: Where it listens. 127.0.0.1 is reached from this machine alone; 0.0.0.0 from everywhere.
        port: Likewise; 0 takes any that is free.
        tp: GPUs that share each copy of the model (tensor parallel).
        dp: Copies of the model (data parallel).
        quantization: One of `QUANTIZATIONS`. Left out, what the model's files say holds; fp8 quantises any model while
            it is loaded.
        memory_fraction: How much of a GPU's memory the model and its cache get, above 0 and below 1: for sglang of
            what is free at the start, for vLLM of all there is.
        context_tokens: The longest request with its reply. Left out: what the model can, or 4096 for llamacpp.
        parallel: How many requests are worked on at the same time; the rest waits. Left out: the server's own
            default, or 4 for llamacpp.
        threads: Threads that llamacpp computes with. Left out: all cores but one, which the server's clients need.
        served_model_name: What the model is called in requests. Left out: the server's own choice.
        api_key_env: The environment variable with the key that clients must send. Left out: none is asked for.
        python: The Python that runs the server, such as one of a virtual environment of its own.
        check_gpus: Whether GPUs are counted before the start.
        extra: Further arguments for the server, as it takes them.
    """

    backend: Backend
    model: str | os.PathLike[str]
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tp: int = 1
    dp: int = 1
    quantization: str | None = None
    memory_fraction: float | None = None
    context_tokens: int | None = None
    parallel: int | None = None
    threads: int | None = None
    served_model_name: str | None = None
    api_key_env: str | None = None
    python: str = sys.executable
    check_gpus: bool = True
    extra: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ConfigError(f"backend must be one of {', '.join(BACKENDS)}; got {self.backend!r}.")
        for name in ("model", "python"):
            if not str(getattr(self, name)).strip():
                raise ConfigError(f"{name} must not be empty.")
        if not isinstance(self.host, str) or not self.host.strip():
            raise ConfigError(f"host must be an address of this machine, such as 127.0.0.1; got {self.host!r}.")
        if not _is_whole(self.port, 0) or self.port > 65535:
            raise ConfigError(f"port must be a whole number from 0 (any that is free) to 65535; got {self.port!r}.")
        for name in ("tp", "dp", "context_tokens", "parallel", "threads"):
            value = getattr(self, name)
            if value is not None and not _is_whole(value, 1):
                raise ConfigError(f"{name} must be a whole number of at least 1; got {value!r}.")
        if self.quantization is not None and self.quantization not in QUANTIZATIONS:
            raise ConfigError(f"quantization must be one of {', '.join(QUANTIZATIONS)}; got {self.quantization!r}.")
        fraction = self.memory_fraction
        if fraction is not None and not (isinstance(fraction, (int, float)) and 0 < fraction < 1):
            raise ConfigError(f"memory_fraction must be above 0 and below 1; got {fraction!r}.")
        if isinstance(self.extra, str):
            raise ConfigError(f"extra must be a sequence of arguments, not one text; got {self.extra!r}.")
        self._check_backend()
        self._check_extra()

    def _check_backend(self) -> None:
        """Refuse what the backend has no use for: it would be thought to work."""
        if self.backend == "llamacpp":
            ways_out = {
                "tp": "it computes in one process",
                "dp": "start several servers on ports of their own, and give base_url all their addresses",
                "quantization": "the .gguf file is quantised already: take one of another quantisation",
                "memory_fraction": "lower context_tokens or parallel",
            }
            for name, way_out in ways_out.items():
                if getattr(self, name) not in (None, 1):
                    raise ConfigError(f"llamacpp has no {name} (got {getattr(self, name)!r}): {way_out}.")
            if self.extra:
                raise ConfigError(f"llamacpp takes no further arguments; got {list(self.extra)}.")
        elif self.threads is not None:
            raise ConfigError(f"{self.backend} has no threads (got {self.threads}): set OMP_NUM_THREADS.")

    def _check_extra(self) -> None:
        owned = {
            *(
                "--model",
                "--model-path",
                "--host",
                "--port",
                "--api-key",
                "--tp",
                "--tp-size",
                "--tensor-parallel-size",
            ),
            *("--dp", "--dp-size", "--data-parallel-size", "--quantization", "-q", "-tp", "-dp", "--served-model-name"),
            *("--mem-fraction-static", "--gpu-memory-utilization", "--context-length", "--max-model-len"),
            *("--max-running-requests", "--max-num-seqs"),
        }
        for argument in self.extra:
            name = argument.partition("=")[0].replace("_", "-")
            if name == "--api-key":
                raise ConfigError("A key on a command line is seen by every user of the machine: use api_key_env.")
            if name in owned:
                raise ConfigError(
                    f"extra must leave out {name}, which a setting of our own gives: one of model, "
                    "host, port, tp, dp, quantization, memory_fraction, context_tokens, parallel, served_model_name."
                )

    @property
    def needed_gpus(self) -> int | None:
        """How many GPUs it takes on this machine; None if its further arguments say otherwise."""
        names = {argument.partition("=")[0].replace("_", "-") for argument in self.extra}
        elsewhere = {"--device", "--nnodes", "--node-rank", "--enable-dp-attention", "--enable-dp-lm-head", "--pp-size"}
        elsewhere |= {"--pipeline-parallel-size", "-pp", "--data-parallel-size-local", "--data-parallel-backend"}
        return None if names & elsewhere else self.tp * self.dp


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
