"""Players that say what they are told to, and the questions that they are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agents.codec import TextCodec
from agents.conversation import RolloutSettings
from agents.samplers import ScriptedSampler
from agents.testing import byte_tokenizer
from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.playing import BoardPlayer, BoardTask, play_questions
from zs_env.engines.scripted import ScriptedEngine
from zs_env.episode import EpisodeSettings
from zs_env.types import Question

CODEC = TextCodec(byte_tokenizer())
QUESTION = Question(
    id="q1", question="Where does the river Ilm end?", golden_answers=("the Saale",), metadata={"hops": 1}
)
LIMITS = RolloutSettings(max_new_tokens=200, max_episode_tokens=8000)


def task(question: Question = QUESTION, index: int = 0, **changes: Any) -> BoardTask:
    return BoardTask(**({"set": "rivers", "index": index, "question": question} | changes))


def player_of(script: Sequence[str] | Callable[[str], str]) -> BoardPlayer:
    sampler = ScriptedSampler(CODEC, script)
    return BoardPlayer(model_name="scripted", codec=CODEC, sampler_maker=lambda settings: sampler)


def play(
    agent: str,
    player: BoardPlayer,
    tasks: Sequence[BoardTask] | None = None,
    engine: Any = None,
    **changes: Any,
) -> list[PlayedEpisode]:
    """What became of the tasks, in their order."""
    kept: list[PlayedEpisode] = []
    options: dict[str, Any] = {
        "engine": engine or ScriptedEngine("The Ilm is a river of Thuringia. It flows into the Saale."),
        "episode_settings": EpisodeSettings(),
        "rollout_settings": LIMITS,
        "seed": 0,
        "concurrency": 4,
        "keep": kept.append,
    }
    play_questions(agent, player, [task()] if tasks is None else tasks, **(options | changes))
    return sorted(kept, key=lambda episode: (episode.set, episode.index))
