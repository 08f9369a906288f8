"""Why a server ended: the likely cause, told from the last lines of its log."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

__all__ = ["first_error", "how_it_ended", "likely_cause", "read_lines"]

_TAIL_BYTES = 256 * 1024

# The first that is found counts, so what says more stands before what says less.
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"(?i)address already in use|couldn't bind HTTP server socket",
        "the port is in use: give another --port, or end what listens there.",
    ),
    (
        r"unrecognized arguments|invalid choice: |no such option",
        "the installed release doesn't know a flag: see the line above, and the release that docs/serving.md names.",
    ),
    (
        r"is less than desired \w+ memory",
        "less memory is free than --memory-fraction asks for: lower it, or end what else uses the memory.",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|Not enough memory|No available memory for the cache blocks"
        r"|HIP out of memory",
        "the GPU's memory doesn't suffice: see what else uses it (nvidia-smi), change --memory-fraction, lower "
        "--context-tokens or --parallel, take a quantised model, or spread it over more GPUs with --tp.",
    ),
    (
        r"larger than the maximum number of tokens that can be stored in KV cache|larger than the available KV cache",
        "a request of --context-tokens doesn't fit into what memory is left beside the model: lower it, or raise "
        "--memory-fraction.",
    ),
    (
        r"GatedRepoError|gated repo|Access to model .* is restricted",
        "the model asks for its licence to be accepted: do so on its page, and set HF_TOKEN.",
    ),
    (
        r"RepositoryNotFound|is not a valid model identifier|is not a local folder|Repo id must be"
        r"|Invalid repository ID",
        "there is no such model: check --model, a folder or the id of a model on the hub.",
    ),
    (
        r"OfflineModeIsEnabled|LocalEntryNotFound|Temporary failure in name resolution|Name or service not known"
        r"|couldn't connect to|Can't load the configuration of",
        "the model isn't on this machine and couldn't be downloaded: give a folder with its files as --model, or "
        "download it where there is a network and set HF_HOME to what it was downloaded into.",
    ),
    (
        r"No CUDA GPUs are available|Found no NVIDIA driver|driver version is insufficient|No accelerator"
        r"|libcuda\.so|Failed to infer device type",
        "no GPU can be used: check nvidia-smi; `serve llamacpp` needs none.",
    ),
    (
        r"no kernel image is available|compute capability",
        "the GPU is too old, or too new, for the installed release or for this quantisation.",
    ),
    (
        r"[Qq]uantization method .*does not match|Cannot find the config file for|does not support .*quantization",
        "the model's files aren't of that --quantization: leave it out, and what the model says is used.",
    ),
    (
        r"failed to load model|gguf_init_from_file|unknown model architecture",
        "the model's file can't be loaded: it is broken, or newer than the installed xllamacpp.",
    ),
    (
        r"ModuleNotFoundError: No module named|ImportError: ",
        "a package is missing or doesn't fit in the Python that the server runs with: see the line above.",
    ),
)

_SIGNALS: dict[int, str] = {
    signal.SIGKILL: "the system may have been out of memory (see `dmesg`), or someone killed it.",
    signal.SIGSEGV: "the program itself is broken, or a library doesn't fit it.",
    signal.SIGILL: "it was built for another processor.",
}


def read_lines(log: Path) -> list[str]:
    """The lines at the end of a log, without colours and blank ones."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text))
    return [line for line in lines if line.strip()]


def first_error(lines: list[str]) -> str:
    """The first error that Python told; later ones are mostly its consequences. Empty if there is none.

    Examples:
        >>> first_error(["(Worker) ERROR 11-23 ValueError: too little memory", "RuntimeError: initialization failed"])
        'ValueError: too little memory'
    """
    for line in lines:
        found = re.search(r"\b(?:\w+\.)*[A-Z]\w*(?:Error|Exception): .+", line)
        if found:
            return found.group()
    return ""


def how_it_ended(status: int) -> str:
    """An exit status in words.

    Examples:
        >>> how_it_ended(-9), how_it_ended(1)
        ('was killed by signal 9 (SIGKILL)', 'ended with exit status 1')
    """
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "?"
    return f"was killed by signal {-status} ({name})"


def likely_cause(lines: list[str], status: int | None = None) -> str:
    """What probably went wrong, and the way out; empty if nothing is known.

    Examples:
        >>> likely_cause(["OSError: [Errno 98] Address already in use"])
        'the port is in use: give another --port, or end what listens there.'
    """
    text = "\n".join(lines)
    for pattern, cause in _CAUSES:
        if re.search(pattern, text):
            return cause
    return "" if status is None else _SIGNALS.get(-status, "")
