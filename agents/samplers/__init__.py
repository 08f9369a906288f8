"""Samplers: whatever turns token ids into more of them, by one protocol.

`transformers` is the default; it is imported where it is used, so that this package is light.
"""

from agents.samplers.base import FinishReason, Generation, GenerationRequest, Sampler, SamplingSettings
from agents.samplers.scripted import ScriptedSampler

__all__ = ["FinishReason", "Generation", "GenerationRequest", "Sampler", "SamplingSettings", "ScriptedSampler"]
