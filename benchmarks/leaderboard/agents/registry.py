"""The agents by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from benchmarks.leaderboard.agents import cot, direct, oracle, r1, ra_agent, rag, random_answer, search_o1, zerosearch
from benchmarks.leaderboard.agents.base import AgentSpec
from zs_env.errors import ConfigError

__all__ = ["AGENTS", "find_agent"]

_SPECS = (
    direct.SPEC,
    cot.SPEC,
    rag.SPEC,
    ra_agent.SPEC,
    search_o1.SPEC,
    r1.SPEC,
    zerosearch.SPEC,
    oracle.SPEC,
    random_answer.SPEC,
)

AGENTS: Mapping[str, AgentSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""All of them."""


def find_agent(name: str) -> AgentSpec:
    """The agent of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in AGENTS:
        raise ConfigError(f"There is no agent {name!r}: choose one of {', '.join(AGENTS)}.")
    return AGENTS[name]
