"""Search simulated by language models, on any server that speaks OpenAI's chat protocol."""

from __future__ import annotations

from zs_env.engines.llm.client import ChatClient, ClientSettings
from zs_env.engines.llm.engine import SimulatedEngine, SimulationSettings, simulate_prompt, simulate_sft
from zs_env.engines.llm.replies import ChatReply

__all__ = [
    "ChatClient",
    "ChatReply",
    "ClientSettings",
    "SimulatedEngine",
    "SimulationSettings",
    "simulate_prompt",
    "simulate_sft",
]
