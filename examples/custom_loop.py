"""A plain reinforcement learning loop over `gym.make_vec`, without `agents`, torch or a language model.

The policy is a softmax over three ways to go on after a search, a table of six numbers, learned by REINFORCE with a
baseline. It starts by guessing from its first documents; it ends by asking a second question where one is needed, and
by searching again when the documents don't help. Run it with `python examples/custom_loop.py`: it takes a few seconds.

What to copy from it: questions come from `info["question"]` at resets, documents from `info["search"]`, what the
environment wrote from `info["new_text"]`; rewards arrive in the step that ends an episode.
"""

from __future__ import annotations

import re

import gymnasium as gym
import numpy as np

import zs_env

gym.register_envs(zs_env)

NUM_ENVS, STEPS, LEARNING_RATE = 64, 400, 0.2
MOVES = ("answer", "ask about it", "search again")
RELATIONS = ("capital", "currency", "continent", "language", "calling code", "domain")


class Player:
    """One environment's side of the talk: what was asked, and what the documents said about it."""

    def __init__(self, question: str) -> None:
        self.question = question
        self.subject = question
        self.found: str | None = None
        self.choices: list[tuple[int, int]] = []

    def read(self, documents: tuple[zs_env.Document, ...]) -> None:
        """Take the last capitalised words of the first document that names the subject."""
        for document in documents:
            names = re.findall(r"(?:\+|\.)?\w[\w'-]*(?: [A-Z]\w+)*", document.text.rstrip("."))
            if names and any(word in self.subject for word in document.text.split() if word[0].isupper()):
                self.found = names[-1]
                return
        self.found = None

    def situation(self) -> int:
        """0: found something; 1: found nothing."""
        return int(self.found is None)

    def act(self, move: str) -> str:
        """The text that makes a move."""
        if move == "answer":
            return f"<answer>{self.found or 'unknown'}</answer>"
        if move == "ask about it" and self.found:
            relation = next((name for name in RELATIONS if name in self.question), "capital")
            self.subject = f"{relation} of {self.found}"
        return f"<search>{self.subject}</search>"


def main(steps: int = STEPS, seed: int = 0) -> tuple[float, float]:
    """Learn for so many steps; returns the mean reward of the first and of the last fifth of the episodes."""
    rng = np.random.default_rng(seed)
    envs = gym.make_vec("ZeroSearch-v0", num_envs=NUM_ENVS, noise_probability=0.25, autoreset_mode="SameStep")
    _, info = envs.reset(seed=seed)
    players = [Player(question) for question in info["question"]]
    actions = [player.act("search again") for player in players]
    logits = np.zeros((2, len(MOVES)))  # [situation, move]
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
    for name, row in zip(("something found", "nothing found"), logits, strict=True):
        chances = ", ".join(f"{move} {chance:.0%}" for move, chance in zip(MOVES, softmax(row), strict=True))
        print(f"{name}: {chances}")
    return before, after


def softmax(row: np.ndarray) -> np.ndarray:
    """Probabilities from logits."""
    exponents = np.exp(row - row.max())
    return np.asarray(exponents / exponents.sum())


if __name__ == "__main__":
    main()
