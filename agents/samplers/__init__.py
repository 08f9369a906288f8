"""Samplers: whatever turns token ids into more of them, by one protocol.

`transformers` is the default, `vllm` has continuous batching, `openai` plays any server's model, for evaluation; each
is imported where it is used, so that this package is light.
"""

from agents.samplers.base import (
    ConversationKey,
    FinishReason,
    Generation,
    GenerationRequest,
    PublishedSampler,
    RememberingSampler,
    Sampler,
    SamplingSettings,
    StreamingSampler,
)
from agents.samplers.scripted import ScriptedEngine, ScriptedSampler

__all__ = [
    "ConversationKey",
    "FinishReason",
    "Generation",
    "GenerationRequest",
    "PublishedSampler",
    "RememberingSampler",
    "Sampler",
    "SamplingSettings",
    "ScriptedEngine",
    "ScriptedSampler",
    "StreamingSampler",
]
