"""What retrieval needs beside the core, and bm25s without the GPU memory that it would take."""

from __future__ import annotations

import sys
from types import ModuleType

from zs_env.errors import require

__all__ = ["INSTALL", "require_bm25s"]

INSTALL = 'pip install "zerosearch-env[retrieval]"'


def require_bm25s(needed_for: str, module: str = "bm25s") -> ModuleType:
    """Import bm25s, or a module of it, with jax out of its sight.

    Where jax is installed, bm25s makes it sort something while it is imported, and jax then takes three quarters of a
    GPU's memory for itself. Nothing of bm25s that is used here sorts, so a policy on the same GPU keeps its memory.

    Args:
        needed_for: What the caller wants it for, as a phrase.
        module: The module.

    Raises:
        MissingPackageError: It can't be imported.
    """
    if sys.modules.get("bm25s") is not None:  # whatever it takes, it has
        return require(module, needed_for=needed_for, install=INSTALL)
    missing = object()
    jax = sys.modules.get("jax", missing)
    sys.modules["jax"] = None  # type: ignore[assignment]  # `import jax` fails as if it weren't installed
    try:
        return require(module, needed_for=needed_for, install=INSTALL)
    finally:
        del sys.modules["jax"]
        if jax is not missing:
            sys.modules["jax"] = jax  # type: ignore[assignment]
