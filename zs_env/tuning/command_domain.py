"""`python -m zs_env tune domain`: see `zs_env.tuning.domain.command`."""

from __future__ import annotations

from zs_env.tuning.domain.command import add_parser

__all__ = ["add_parser"]
