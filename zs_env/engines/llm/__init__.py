"""Search simulated by language models, on any server that speaks OpenAI's chat protocol, or in this process."""

from __future__ import annotations

from zs_env.engines.llm.backend import BackendSettings, ChatBackend
from zs_env.engines.llm.client import ChatClient, ClientSettings
from zs_env.engines.llm.engine import SimulatedEngine, SimulationSettings, simulate_prompt, simulate_sft
from zs_env.engines.llm.inprocess import InProcessClient, InProcessSettings
from zs_env.engines.llm.replies import ChatReply

__all__ = [
    "BackendSettings",
    "ChatBackend",
    "ChatClient",
    "ChatReply",
    "ClientSettings",
    "InProcessClient",
    "InProcessSettings",
    "SimulatedEngine",
    "SimulationSettings",
    "simulate_prompt",
    "simulate_sft",
]
