"""Where an evaluation was made: the machine, the packages, and the state of the code; nothing that says whose."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["describe_git", "describe_packages"]

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "gymnasium", "bm25s", "aiohttp", "vllm", "xllamacpp")
_ROOT = Path(__file__).parents[2]
_CODE = ("zs_env", "agents", "benchmarks", ":!benchmarks/results")


def describe_packages(names: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """The versions of those packages that figures may depend on, where they are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_git(root: Path = _ROOT) -> dict[str, Any] | None:
    """The commit of the code, and whether the code is another than that commit's; None outside of a repository.

    Records, pages and documents don't count: a record that was added makes no code another.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "dirty": bool(_git(root, "status", "--porcelain", "--", *_CODE))}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
