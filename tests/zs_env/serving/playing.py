"""Whole episodes on a simulator server, on real questions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

import zs_env

gym.register_envs(zs_env)

# From NQ-open's development set (Apache-2.0).
QUESTIONS = [
    {"id": "moon", "question": "when was the last time anyone was on the moon", "golden_answers": ["December 1972"]},
    {"id": "king", "question": "who was the ruler of england in 1616", "golden_answers": ["James I"]},
    {"id": "song", "question": "who sang i ran all the way home", "golden_answers": ["The Impalas"]},
    {
        "id": "state",
        "question": "who was the actor that played ben stone on law and order",
        "golden_answers": ["Moriarty"],
    },
]


def play_serially(base_url: str, noise: tuple[float, ...] = (0.0, 1.0), **options: Any) -> list[dict[str, Any]]:
    """Play an episode of a search and an answer for each noise, each on a question of its own; returns the searches."""
    env = gym.make(
        "ZeroSearch-v0", search_mode="simulate_prompt", base_url=base_url, questions=QUESTIONS, reward="f1", **options
    )
    searches = []
    for at, probability in enumerate(noise):
        question = QUESTIONS[at % len(QUESTIONS)]
        env.reset(seed=at, options={"question": question, "noise_probability": probability})
        text, _, terminated, truncated, info = env.step(f"<search>{question['question']}</search>")
        search = info["search"]
        assert search["error"] is None
        assert (terminated, truncated) == (False, False)
        assert search["quality"] == ("noisy" if probability else "useful")
        assert f"Doc {len(search['documents'])}:" in text
        _, reward, terminated, _, info = env.step(f"<answer>{question['golden_answers'][0]}</answer>")
        assert (reward, terminated, info["num_searches"], info["status"]) == (1.0, True, 1, "answered")
        searches.append(search)
    env.close()
    return searches


def play_at_once(base_url: str, num_envs: int, **options: Any) -> list[dict[str, Any]]:
    """Play an episode in each sub-environment, all searches at once; returns the searches."""
    envs = gym.make_vec(
        "ZeroSearch-v0",
        num_envs=num_envs,
        search_mode="simulate_prompt",
        base_url=base_url,
        questions=QUESTIONS,
        noise_probability=0.5,
        **options,
    )
    _, info = envs.reset(seed=0)
    texts, _, terminations, truncations, info = envs.step([f"<search>{text}</search>" for text in info["question"]])
    assert not terminations.any()
    assert not truncations.any()
    columns = info["search"]
    searches = [{name: column[at] for name, column in columns.items()} for at in range(num_envs)]
    for text, search in zip(texts, searches, strict=True):
        assert search["error"] is None
        assert f"Doc {len(search['documents'])}:" in text
    _, _, terminations, _, info = envs.step(["<answer>nobody</answer>"] * num_envs)
    assert terminations.all()
    envs.close()
    return searches
