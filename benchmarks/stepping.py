"""Loops that play environments and read all that these say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

__all__ = ["SEARCHES", "play_each", "play_vector"]

SEARCHES = 4
"""How often an episode searches before it answers."""


def play_vector(envs: gym.vector.VectorEnv[Any, Any, Any], seed: int) -> Callable[[int], int]:
    """A function that plays so many steps of a vector environment and returns how much it read.

    Each episode searches `SEARCHES` times for its own question and then answers.
    """
    num_envs = envs.num_envs
    _, info = envs.reset(seed=seed)
    searches = [f"<search>{question}</search>" for question in info["question"]]
    turns = [i % SEARCHES for i in range(num_envs)]

    def play(num_steps: int) -> int:
        nonlocal turns
        read = 0
        for _ in range(num_steps):
            actions = ["<answer>nothing</answer>" if turns[i] == SEARCHES else searches[i] for i in range(num_envs)]
            observations, _, _, _, info = envs.step(actions)
            for observation in observations:
                read += len(observation)
            if "search" in info:
                search = info["search"]
                columns = [search[key] for key in search if key[0] != "_"]
                for i in np.flatnonzero(info["_search"]):
                    read += sum(column[i] is not None for column in columns)
            if "question" in info:
                questions = info["question"]
                for asked in np.flatnonzero(info["_question"]):
                    searches[asked] = f"<search>{questions[asked]}</search>"
            turns = [0 if turn == SEARCHES else turn + 1 for turn in turns]
        return read

    return play


def play_each(envs: Sequence[gym.Env[str, str]], seed: int) -> Callable[[int], int]:
    """The same for environments that are stepped one by one, each reset when its episode has ended."""
    searches = [f"<search>{env.reset(seed=seed + i)[1]['question']}</search>" for i, env in enumerate(envs)]
    turns = [i % SEARCHES for i in range(len(envs))]

    def play(num_steps: int) -> int:
        read = 0
        for _ in range(num_steps):
            for i, env in enumerate(envs):
                if turns[i] < SEARCHES:
                    turns[i] += 1
                    observation, _, _, _, info = env.step(searches[i])
                    read += sum(value is not None for value in info["search"].values())
                else:
                    turns[i] = 0
                    env.step("<answer>nothing</answer>")
                    observation, info = env.reset()
                    searches[i] = f"<search>{info['question']}</search>"
                read += len(observation)
        return read

    return play
