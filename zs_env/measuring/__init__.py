"""Asking an engine a set of searches that `zs_env.quality` then judges, and the figures of what comes."""

from __future__ import annotations

from zs_env.measuring.cases import QUALITIES, QUERIES, Case, Queries, load_cases, make_query
from zs_env.measuring.describing import plain_settings, prompt_texts, simulation_settings
from zs_env.measuring.figures import group_figures
from zs_env.measuring.running import Answered, run_cases

__all__ = [
    "QUALITIES",
    "QUERIES",
    "Answered",
    "Case",
    "Queries",
    "group_figures",
    "load_cases",
    "make_query",
    "plain_settings",
    "prompt_texts",
    "run_cases",
    "simulation_settings",
]
