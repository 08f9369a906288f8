"""What is known to go wrong, found before a server is started: its port, its package, its model, its GPUs."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError, MissingPackageError, ServerError
from zs_env.serving.quantised import check_capability, check_method, compute_capability, needs_fp8

__all__ = ["check_gpus", "check_model", "check_port", "free_port", "num_gpus", "probe"]

_PROBE_TIMEOUT_S = 120.0


def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(
            f"host must be an address of this machine, such as 127.0.0.1; {host!r} is none ({error})."
        ) from error
    return [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


def check_port(host: str, port: int) -> None:
    """See that a server could listen there.

    Raises:
        ServerError: The port is in use, or needs more rights than we have.
        ConfigError: The host is no address of this machine.
    """
    for family, address in _addresses(host, port)[:1]:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what is closing doesn't count
            try:
                trial.bind(address)
            except OSError as error:
                raise _port_error(host, port, error) from error


def _port_error(host: str, port: int, error: OSError) -> Exception:
    if error.errno == errno.EADDRINUSE:
        holder = _listener(port)
        return ServerError(
            f"Port {port} of {host} is in use{f' by {holder}' if holder else ''}. Give another one (--port; 0 takes "
            "any that is free), or end what listens there."
        )
    if error.errno == errno.EACCES:
        return ServerError(f"Port {port} is for administrators only: give one of 1024 or more.")
    return ConfigError(f"Nothing can listen at {host!r}, port {port}: {error.strerror}. 127.0.0.1 always works.")


def _listener(port: int) -> str:
    """Which process listens at a port, as far as this user may know; on Linux alone."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                parts = line.split()
                if parts[3] == "0A" and int(parts[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{parts[9]}]")
    if sockets:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(os.readlink(file) in sockets for file in (folder / "fd").iterdir()):
                    return f"process {folder.name} ({(folder / 'comm').read_text(encoding='utf-8').strip()})"
    return ""


def free_port(host: str) -> int:
    """A port that nothing listens at now."""
    family, address = _addresses(host, 0)[0]
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.bind(address)
        return int(trial.getsockname()[1])


_PROBE = """
import importlib.metadata as m, importlib.util as u, json, sys
module, names = sys.argv[1], sys.argv[2:]
try:
    spec = u.find_spec(module)
except (ImportError, ValueError):
    spec = None
versions = {}
for name in names:
    try:
        versions[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps({"found": spec is not None and spec.origin is not None, "versions": versions}))
"""


def probe(
    python: str, module: str, distributions: tuple[str, ...], *, install: str, needed_by: str = "The server"
) -> dict[str, str]:
    """See that a Python has a module, without importing it.

    Args:
        python: The Python that the server is to run with.
        module: The module.
        distributions: The names under which packages bring it, to tell their releases.
        install: The command that installs it.
        needed_by: What needs it, as a message begins.

    Returns:
        The releases of those distributions that are there.

    Raises:
        ConfigError: That Python can't be run.
        MissingPackageError: It doesn't have the module.
    """
    try:
        done = subprocess.run(
            [python, "-c", _PROBE, module, *distributions],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        told = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        said = (getattr(error, "stderr", None) or "").strip().splitlines()
        raise ConfigError(
            f"python must be a Python interpreter that can be run; {python!r} can't: {said[-1] if said else error}."
        ) from error
    if not told["found"]:
        command = install.replace("pip ", f"{python} -m pip ", 1) if python != sys.executable else install
        raise MissingPackageError(
            f"{needed_by} needs the package {module!r}, which {python} doesn't have. Install it with: {command}\n"
            "(in a virtual environment of its own, named by --python, if its torch must not become this one's)"
        )
    return {str(name): str(version) for name, version in told["versions"].items()}


def num_gpus(python: str) -> int | None:
    """How many GPUs a server may use; None if that can't be told.

    `CUDA_VISIBLE_DEVICES` counts: what it doesn't name isn't there.
    """
    total = _nvidia_gpus()
    if total is None:
        return _torch_gpus(python)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return total
    count = 0
    for name in filter(None, map(str.strip, visible.split(","))):
        if re.fullmatch(r"-?\d+", name) and not 0 <= int(name) < total:
            break  # CUDA ignores what stands behind one that doesn't exist
        count += 1
    return count


def _nvidia_gpus() -> int | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return len(re.findall(r"^GPU \d+:", done.stdout, re.MULTILINE)) if done.returncode == 0 else 0


def _torch_gpus(python: str) -> int | None:
    """What torch counts: it knows AMD's GPUs too."""
    code = "import torch; print(torch.cuda.device_count())"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True
        )
        return int(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def check_gpus(name: str, needed: int, tp: int, dp: int, python: str) -> None:
    """See that there are enough GPUs.

    Raises:
        ServerError: There are too few.
    """
    have = num_gpus(python)
    if have is None or have >= needed:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    because = f" (CUDA_VISIBLE_DEVICES is {visible!r})" if visible is not None else ""
    raise ServerError(
        f"{name} with tp {tp} and dp {dp} needs {needed} GPU{'s' * (needed != 1)}, and {have or 'none'} can be "
        f"used{because}. Lower --tp or --dp; without a GPU, take `serve llamacpp`. If this count is wrong, give "
        "--no-gpu-check."
    )


def check_model(model: str, quantization: str | None) -> str:
    """See that a model is there, as far as that can be told without a network.

    Args:
        model: A folder in Hugging Face's format, a `.gguf` file, or an id on the hub.
        quantization: How it is to be quantised.

    Returns:
        What is to be said of it before a start; empty if there is nothing.

    Raises:
        ConfigError: It is a path that doesn't exist, or a folder without a model; or an id that isn't downloaded,
            where downloads are off; or its files aren't quantised so.
        ServerError: It is in FP8, and the GPUs here can't hold that.
    """
    path = Path(model).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return (
            f"{path.name} is a GGUF file, which `serve llamacpp` is made for; vLLM reads it by vllm-gguf-plugin alone, "
            "and servers for GPUs want the tokenizer of the model's folder beside it."
        )
    if path.is_dir():
        config = _check_folder(path, quantization)
        return check_capability(compute_capability()) if needs_fp8(config, quantization) else ""
    if not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)?", model) or model.startswith((".", "/", "~")):
        raise ConfigError(
            f"There is no model at {model!r}. Give the folder of one (with its config.json), or the id of one on the "
            "hub, such as Qwen/Qwen2.5-14B-Instruct."
        )
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    if any((cache / f"models--{model.replace('/', '--')}" / "snapshots").glob("*/*")):
        return ""
    if any(os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON") for name in _OFFLINE):
        raise ConfigError(
            f"The model {model!r} is neither a folder here nor in the hub's cache at {cache}, and downloads are off "
            f"({' or '.join(_OFFLINE)} is set). Download it where there is a network, or give the folder of one."
        )
    return f"{model!r} is no folder here and isn't in the hub's cache yet: it will be downloaded, which may take long."


_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def _check_folder(folder: Path, quantization: str | None) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = " It holds .gguf files: `serve llamacpp` takes those." if any(folder.glob("*.gguf")) else ""
        raise ConfigError(
            f"The folder {str(folder)!r} must hold a model in Hugging Face's format, with a config.json.{hint}"
        ) from error
    config = config if isinstance(config, dict) else {}
    check_method(str(folder), config, quantization)
    return config
