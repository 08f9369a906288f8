"""A plain reinforcement learning loop over `gym.make_vec`, without `agents`, torch or a language model.

The policy is a table of nine numbers: in each of three situations, how much it likes to answer, to ask about what it
has just found, or to search again. REINFORCE with a baseline teaches it from rewards alone to do the right one of
each: to ask on where a question speaks of "the country where …", and to search again when the documents didn't help.
Run it with `python examples/custom_loop.py`; it takes some seconds.

What to copy from it: questions come from `info["question"]` at resets, documents from `info["search"]`, and the
reward in the step that ends an episode.
"""

from __future__ import annotations

import re

import gymnasium as gym
import numpy as np

import zs_env

gym.register_envs(zs_env)

NUM_ENVS, STEPS, LEARNING_RATE = 64, 300, 2.0
MOVES = ("answer", "ask about it", "search again")
SITUATIONS = ("found nothing", "found what was asked", "found the country of a place")
RELATIONS = ("capital", "currency", "continent", "language", "calling code", "internet domain")

ENDS = re.compile(r"\b(?:is|at|of|code|domain|called)\b(?: the)?")


class Player:
    """One environment's side of the talk: what it asked, what the documents said, and what it chose."""

    def __init__(self, question: str) -> None:
        self.question = question
        self.query = question
        self.found: str | None = None
        self.asked_on = False
        self.choices: list[tuple[int, int]] = []

    def read(self, documents: tuple[zs_env.Document, ...]) -> None:
        """Find the document about what was asked: the one that shares its name, all of it."""
        names = set(re.findall(r"\b[^\W\d_]\S*", self.query)) - {"?"}
        names = {name.strip("?.,") for name in names if name[0].isupper()} - {"What", "Which", "In", "On"}
        about = [document.text for document in documents if names and all(name in document.text for name in names)]
        self.found = re.split(ENDS, about[0].rstrip("."))[-1].strip() if about else None

    def situation(self) -> int:
        """An index into `SITUATIONS`."""
        if self.found is None:
            return 0
        return 2 if not self.asked_on and re.search(r"\bthe country\b", self.question) else 1

    def act(self, move: str) -> str:
        """Write the text that makes a move."""
        if move == "answer":
            return f"<answer>{self.found or 'unknown'}</answer>"
        if move == "ask about it" and self.found:
            relation = next((name for name in RELATIONS if name in self.question), "currency")
            self.query, self.asked_on = f"{relation} of {self.found}", True
        return f"<search>{self.query}</search>"


def main(steps: int = STEPS, seed: int = 0) -> tuple[float, float]:
    """Learn for so many steps; returns the mean reward of the first and of the last fifth of the episodes."""
    rng = np.random.default_rng(seed)
    envs = gym.make_vec("ZeroSearch-v0", num_envs=NUM_ENVS, noise_probability=0.25, autoreset_mode="SameStep")
    _, info = envs.reset(seed=seed)
    players = [Player(question) for question in info["question"]]
    actions = [player.act("search again") for player in players]
    logits = np.zeros((len(SITUATIONS), len(MOVES)))  # [situation, move]
    returns: list[float] = []
    baseline = 0.0
    for _ in range(steps):
        _, rewards, terminated, truncated, info = envs.step(actions)
        gradient = np.zeros_like(logits)
        for i, player in enumerate(players):
            if terminated[i] or truncated[i]:
                advantage = rewards[i] - baseline
                baseline += 0.01 * advantage
                returns.append(float(rewards[i]))
                for situation, move in player.choices:
                    probabilities = softmax(logits[situation])
                    gradient[situation] += advantage * (np.eye(len(MOVES))[move] - probabilities)
                players[i] = player = Player(info["question"][i])
                actions[i] = player.act("search again")
                continue
            player.read(info["search"]["documents"][i])
            situation = player.situation()
            move = int(rng.choice(len(MOVES), p=softmax(logits[situation])))
            player.choices.append((situation, move))
            actions[i] = player.act(MOVES[move])
        logits += LEARNING_RATE * gradient / NUM_ENVS
    fifth = len(returns) // 5
    before, after = float(np.mean(returns[:fifth])), float(np.mean(returns[-fifth:]))
    print(f"{len(returns)} episodes: mean reward {before:.2f} in the first fifth, {after:.2f} in the last")
    for name, row in zip(SITUATIONS, logits, strict=True):
        chances = ", ".join(f"{move} {chance:.0%}" for move, chance in zip(MOVES, softmax(row), strict=True))
        print(f"{name}: {chances}")
    return before, after


def softmax(row: np.ndarray) -> np.ndarray:
    """Probabilities from logits."""
    exponents = np.exp(row - row.max())
    return np.asarray(exponents / exponents.sum())


if __name__ == "__main__":
    main()
