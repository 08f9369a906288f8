"""Agents: the baselines of the paper and the board's bounds, a small file each."""

from benchmarks.leaderboard.agents.base import AgentSpec
from benchmarks.leaderboard.agents.game import Game
from benchmarks.leaderboard.agents.registry import AGENTS, find_agent
from benchmarks.leaderboard.agents.talk import Talk

__all__ = ["AGENTS", "AgentSpec", "Game", "Talk", "find_agent"]
