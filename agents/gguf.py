"""Policies from GGUF files, among them the real small model that comes in a wheel: no hub is needed."""

from __future__ import annotations

from zs_env.tuning.base_models import is_gguf, load_gguf

__all__ = ["is_gguf", "load_gguf"]
