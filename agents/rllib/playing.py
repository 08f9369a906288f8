"""Playing a menu on given questions: with baselines, and with whatever chooses slots."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from agents.rllib.reading import documents_in, name_words, read, relation_of, words
from zs_env.curriculum import check_whole
from zs_env.intervals import wilson_interval
from zs_env.types import Question

__all__ = ["BASELINES", "Choose", "by_hand", "one_search", "play", "uniform"]

Choose = Callable[[list[Any], list[dict[str, Any]]], Sequence[int]]
"""From observations and infos of episodes side by side, the slot to pick in each. `info["action_mask"]` has a number a
slot, `info["menu"]` what slots hold: its "searches", and after them its "answers"."""


def play(
    make: Callable[[], gym.Env[Any, Any]],
    questions: Sequence[Question],
    choose: Choose,
    *,
    seed: int = 0,
    num_envs: int = 64,
) -> dict[str, Any]:
    """Play each question once, and measure.

    Question i is played with seed + i, whoever plays, so that all meet the same noise.

    Args:
        make: Makes an environment with a menu.
        questions: What is asked.
        choose: Who plays.
        seed: Where the environments' draws begin.
        num_envs: How many episodes go on side by side.

    Returns:
        `n`, `exact_match` with its 95 % interval `exact_match_ci` (Wilson), the same for one and for two hops where
        the questions' metadata tell hops, `searches_per_episode` and `invalid_per_episode`.
    """
    check_whole("num_envs", num_envs, least=1)
    envs = [make() for _ in range(min(num_envs, len(questions)))]
    ends: list[dict[str, Any]] = []
    for first in range(0, len(questions), num_envs):
        batch = questions[first : first + num_envs]
        begun = [
            env.reset(seed=seed + first + i, options={"question": question})
            for i, (env, question) in enumerate(zip(envs, batch, strict=False))
        ]
        running = dict(enumerate(begun))
        num_invalid = [0] * len(batch)
        found: dict[int, dict[str, Any]] = {}
        while running:
            numbers = list(running)
            slots = choose([running[i][0] for i in numbers], [running[i][1] for i in numbers])
            for i, slot in zip(numbers, slots, strict=True):
                observation, _, terminated, truncated, info = envs[i].step(int(slot))
                num_invalid[i] += info["action"] == "invalid"
                running[i] = observation, info
                if terminated or truncated:
                    del running[i]
                    found[i] = info
        ends += [
            {
                "correct": bool(found[i]["exact_match"]),
                "searches": found[i]["num_searches"],
                "invalid": num_invalid[i],
                "hops": question.metadata.get("hops"),
            }
            for i, question in enumerate(batch)
        ]
    for env in envs:
        env.close()
    return {
        **_share(ends),
        **{f"hops_{hops}": _share(some) for hops in (1, 2) if (some := [end for end in ends if end["hops"] == hops])},
        "searches_per_episode": float(np.mean([end["searches"] for end in ends])) if ends else 0.0,
        "invalid_per_episode": float(np.mean([end["invalid"] for end in ends])) if ends else 0.0,
    }


def _share(ends: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    correct = sum(end["correct"] for end in ends)
    return {
        "n": len(ends),
        "exact_match": correct / len(ends) if ends else 0.0,
        "exact_match_ci": list(wilson_interval(correct, len(ends))),
    }


def uniform(seed: int = 0) -> Choose:
    """Picks any slot that holds something, all of them equally often."""
    rng = np.random.default_rng(seed)
    return lambda _, infos: [int(rng.choice(np.flatnonzero(info["action_mask"]))) for info in infos]


def one_search(seed: int = 0) -> Choose:
    """Searches the question once, then answers the first candidate."""
    return lambda _, infos: [_first_answer(info) if "search" in info else 0 for info in infos]


def by_hand(seed: int = 0, *, max_turns: int = 5) -> Choose:
    """What somebody writes who knows the atlas and the default menu: how far the menu leads, not what must be reached.

    It searches again until the first candidate's statement says what was asked for, asks on where the question speaks
    of the country of a place, and answers on the last turn whatever there is.
    """
    return lambda _, infos: [_by_hand(info, max_turns) for info in infos]


BASELINES: dict[str, Callable[[int], Choose]] = {"uniform": uniform, "one search": one_search, "by hand": by_hand}
"""Who plays the default menu without learning."""


def _by_hand(info: Mapping[str, Any], max_turns: int) -> int:
    if "search" not in info:
        return 0
    if info["turn"] >= max_turns - 1:
        return _first_answer(info)
    query, first = info["search"]["query"], info["menu"]["answers"][0]
    asks_on = re.search(r"\bthe country\b", query) is not None
    wanted = words("country" if asks_on else relation_of(query) or "") | name_words(query)
    for document in documents_in(info["new_text"]):
        for statement in read(document):
            if wanted <= statement.words and first in dict(statement.mentions):
                return 2 if asks_on else _first_answer(info)
    return 3


def _first_answer(info: Mapping[str, Any]) -> int:
    """The first answer that there is, or else the first search."""
    searches, answers = info["menu"]["searches"], info["menu"]["answers"]
    return next((len(searches) + i for i, answer in enumerate(answers) if answer is not None), 0)
