"""Samplers: whatever turns token ids into more of them, by one protocol.

`transformers` is the default; it is imported where it is used, so that this package is light.
"""

from agents.samplers.base import (
    ConversationKey,
    FinishReason,
    Generation,
    GenerationRequest,
    RememberingSampler,
    Sampler,
    SamplingSettings,
)
from agents.samplers.scripted import ScriptedSampler

__all__ = [
    "ConversationKey",
    "FinishReason",
    "Generation",
    "GenerationRequest",
    "RememberingSampler",
    "Sampler",
    "SamplingSettings",
    "ScriptedSampler",
]
