"""One record: an agent, played by someone, on one engine; as it is made, stopped, gone on with and finished."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zs_env
from agents.conversation import RolloutSettings
from agents.runs import describe_machine
from benchmarks.leaderboard.agents import AgentSpec
from benchmarks.leaderboard.engines import BoardEngine
from benchmarks.leaderboard.environment import describe_git, describe_packages
from benchmarks.leaderboard.episodes import PlayedEpisode, read_episodes
from benchmarks.leaderboard.keeping import KEPT, KeptEpisodes, settings_of, what_differs
from benchmarks.leaderboard.metrics import macro, measure_set
from benchmarks.leaderboard.playing import BoardPlayer, BoardTask, play_questions
from benchmarks.leaderboard.prices import Prices, costs_of
from benchmarks.leaderboard.progress import Progress, say
from benchmarks.leaderboard.records import SCHEMA, record_slug, write_record
from benchmarks.leaderboard.replaying import Replay
from benchmarks.leaderboard.scrubbing import scrub_text
from benchmarks.leaderboard.suites import LoadedSet, Suite
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError, ZeroSearchError
from zs_env.types import SearchEngine

__all__ = ["Evaluation", "Outcome", "RunSettings"]

Judge = Callable[[Sequence[PlayedEpisode]], list[PlayedEpisode]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What all records of a command share.

    Attributes:
        seed: Where all randomness comes from.
        noise_probability: The chance that a search asks for noisy documents.
        temperature: Of sampling; None for greedy.
        concurrency: Questions side by side.
        prices: What things cost.
        out: Where records go.
        policy_name: What rows call the policy; None for the model's name.
        train_engine: The engine that it was trained on; None for what its run says.
    """

    seed: int = 0
    noise_probability: float = 0.0
    temperature: float | None = None
    concurrency: int = 64
    prices: Prices = Prices()
    out: Path
    policy_name: str | None = None
    train_engine: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a record.

    Attributes:
        folder: Where it is.
        record: What it says.
        interrupted: The signal or error that stopped it; None if nothing did.
    """

    folder: Path
    record: dict[str, Any]
    interrupted: BaseException | None = None
