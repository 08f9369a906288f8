"""Asking an engine a set of searches that `zs_env.quality` then judges."""

from __future__ import annotations

from zs_env.measuring.cases import QUALITIES, QUERIES, Case, Queries, load_cases, make_query
from zs_env.measuring.running import Answered, run_cases

__all__ = ["QUALITIES", "QUERIES", "Answered", "Case", "Queries", "load_cases", "make_query", "run_cases"]
