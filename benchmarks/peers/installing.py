"""A virtual environment of the peers' own, made on first use."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from zs_env.errors import ZeroSearchError

__all__ = ["PYTHON", "REQUIREMENTS", "PeersError", "default_folder", "install_peers", "interpreter_of"]

PYTHON = (3, 11)
"""The Python that all pinned packages install on: gem-llm 0.1.0 says it takes 3.12.0 at most."""

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
ROOT = Path(__file__).parents[2]
_MARK = "zerosearch-peers.txt"
_WAY_OUT = "`--peers none` measures ours alone."


class PeersError(ZeroSearchError, RuntimeError):
    """Another library can't be installed, started, or asked."""


def default_folder() -> Path:
    """Where the environment is if nobody says: a folder that git ignores, another one for other pins."""
    return ROOT / ".cache" / f"peers-{_pins()[:8]}"


def interpreter_of(folder: Path) -> Path:
    """The environment's interpreter."""
    return folder / "bin" / "python"


def install_peers(folder: Path, *, python: str | None = None) -> Path:
    """Make the environment, or take the one that is there; returns its interpreter.

    Args:
        folder: Where it is, or shall be. Never the environment that this runs in.
        python: The interpreter to make it with; found, if left out.

    Raises:
        PeersError: The folder holds something else, no fitting Python is there, or pip failed.
    """
    folder = folder.expanduser().resolve()
    mark, interpreter = folder / _MARK, interpreter_of(folder)
    if folder == Path(sys.prefix).resolve():
        raise PeersError(
            f"--peers-venv {str(folder)!r} is the environment that this runs in, and the peers' pinned packages would "
            "change it; name another folder, or none for the default."
        )
    if mark.is_file() and mark.read_text(encoding="utf-8") == _pins() and interpreter.exists():
        print(f"The peers' packages are in {folder}.", flush=True)
        return interpreter
    if folder.is_dir() and any(folder.iterdir()) and not mark.is_file():
        raise PeersError(
            f"--peers-venv {str(folder)!r} holds something that this command didn't make; name a new or an empty "
            "folder, or none for the default."
        )
    base = python or _find_python()
    print(f"Making {folder} with {base}, for the peers' packages from PyPI (once, some 700 MB) …", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text("unfinished", encoding="utf-8")
    _run([base, "-m", "venv", str(folder)], f"{base!r} can't make a virtual environment; --peers-python names another.")
    pip = [str(interpreter), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r", str(REQUIREMENTS)]
    _run(
        pip,
        f"pip can't install the peers' packages into {folder}. With PyPI out of reach, install {REQUIREMENTS.name} of "
        "benchmarks/peers where it is in reach (or from a mirror, PIP_INDEX_URL), and run the command again.",
    )
    mark.write_text(_pins(), encoding="utf-8")
    return interpreter


def _pins() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def _find_python() -> str:
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    name = ".".join(map(str, PYTHON))
    found = shutil.which(f"python{name}")
    if found is None:
        raise PeersError(
            f"The peers' pinned packages install on Python {name}; this is Python {sys.version_info[0]}."
            f"{sys.version_info[1]}, and there is no python{name} on PATH. Name one: --peers-python /path/to/python"
            f"{name}. {_WAY_OUT}"
        )
    return found


def _run(command: Sequence[str], advice: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PeersError(f"{advice} {_WAY_OUT} It said: {error}") from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise PeersError(f"{advice} {_WAY_OUT} It said:\n{said}")
