"""ZeroSearch as a Gymnasium environment: language models learn to search without a search engine.

Importing this package registers `ZeroSearch-v0`:

    import gymnasium as gym
    import zs_env

    gym.register_envs(zs_env)
    env = gym.make("ZeroSearch-v0")
"""

from __future__ import annotations

import gymnasium

from zs_env.actions import STOP_STRINGS, Action, parse_action
from zs_env.checker import check_engine
from zs_env.curriculum import Curriculum
from zs_env.engines import make_engine
from zs_env.env import SimulatedSearchEnv
from zs_env.episode import Episode, EpisodeSettings, Segment, Step
from zs_env.errors import ZeroSearchError
from zs_env.questions import load_questions
from zs_env.rewards import (
    Outcome,
    WeightedReward,
    containment_score,
    exact_match_score,
    f1_score,
    make_reward,
    normalize_answer,
)
from zs_env.spaces import PolicyText, UnicodeText
from zs_env.types import Document, Question, QuestionSource, SearchEngine, SearchRequest, SearchResult
from zs_env.vector import SimulatedSearchVectorEnv

__all__ = [
    "STOP_STRINGS",
    "Action",
    "Curriculum",
    "Document",
    "Episode",
    "EpisodeSettings",
    "Outcome",
    "PolicyText",
    "Question",
    "QuestionSource",
    "SearchEngine",
    "SearchRequest",
    "SearchResult",
    "Segment",
    "SimulatedSearchEnv",
    "SimulatedSearchVectorEnv",
    "Step",
    "UnicodeText",
    "WeightedReward",
    "ZeroSearchError",
    "check_engine",
    "containment_score",
    "exact_match_score",
    "f1_score",
    "load_questions",
    "make_engine",
    "make_reward",
    "normalize_answer",
    "parse_action",
]

__version__ = "0.1.0"

if "ZeroSearch-v0" not in gymnasium.registry:
    gymnasium.register(
        id="ZeroSearch-v0",
        entry_point="zs_env.env:SimulatedSearchEnv",
        vector_entry_point="zs_env.vector:SimulatedSearchVectorEnv",
    )
