"""Simulators of any domain: from a folder of files to passages, questions, a tuned simulator and an environment."""

from __future__ import annotations

from zs_env.tuning.domain.environment import environment_options, make

__all__ = ["environment_options", "make"]
