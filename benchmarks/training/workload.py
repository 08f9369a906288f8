"""What both sides train on: the same prompts, the same documents, the same rewards, every length fixed.

Speed depends on lengths, so nothing is left to what a policy happens to say: each turn is exactly so many sampled
tokens, and what the environment adds is exactly so many. Texts are padded with common words until that is true.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from agents.codec import TextCodec
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError
from zs_env.prompts import PROMPTS, render_information, render_prompt, show_documents
from zs_env.types import Document

__all__ = ["PROMPT", "SCENARIOS", "Lengths", "Scenario", "Workload"]

PROMPT = "short"
"""The prompt of `zs_env.prompts.PROMPTS` that questions stand in: all but the question's own words are padding."""

_WORDS = (
    *("the", "of", "and", "to", "in", "is", "was", "for", "on", "that", "by", "with", "as", "at", "from", "it", "are"),
    *("be", "this", "which", "or", "an", "had", "not", "were", "have", "one", "their", "has", "its", "but", "they"),
    *("would", "more", "will", "there", "can", "all", "if", "her", "out", "up", "other", "about", "what", "time"),
    *("two", "into", "only", "some", "could", "new", "them", "then", "first", "any", "these", "also", "after", "over"),
    *("city", "river", "people", "year", "state", "world", "part", "water", "place"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How much a training step held, counted after the fact.

    Attributes:
        episodes: Episodes that were played.
        tokens: Their tokens in all, padding not counted.
        policy_tokens: Those of them that the policy sampled.
        trained_tokens: Those that the loss was over.
    """

    episodes: int
    tokens: int
    policy_tokens: int
    trained_tokens: int

    def check_against(self, wanted: Lengths, *, side: str, tolerance: float = 0.02) -> None:
        """Refuse to compare sides that did different work.

        Raises:
            ConfigError: A count is further from what was wanted than `tolerance`, a share of it.
        """
        for name, value in asdict(wanted).items():
            found = getattr(self, name)
            if abs(found - value) > tolerance * value:
                raise ConfigError(
                    f"{side} worked on {found} {name} where the workload has {value}: more than {tolerance:.0%} apart, "
                    "so its time can't be compared with the others'. Another release of a library may cut or extend "
                    "its generations; install the versions that pyproject.toml names."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The lengths of a training step.

    The environment speaks between two turns, so an episode has `turns` turns of the policy and one block less of
    documents.

    Attributes:
        name: What tables call it.
        groups: Prompts of a step.
        group_size: Episodes that share a prompt.
        prompt_tokens: Of each prompt.
        turns: Of the policy, the last of which answers.
        policy_tokens: Sampled in each turn.
        environment_tokens: Of each block of documents.
    """

    name: str
    groups: int = 4
    group_size: int = 8
    prompt_tokens: int
    turns: int
    policy_tokens: int
    environment_tokens: int

    def __post_init__(self) -> None:
        for name in ("groups", "turns", "policy_tokens", "prompt_tokens"):
            check_whole(name, getattr(self, name), least=1)
        check_whole("group_size", self.group_size, least=2)

    @property
    def episodes(self) -> int:
        """Episodes of a step."""
        return self.groups * self.group_size

    @property
    def episode_tokens(self) -> int:
        """Tokens of an episode."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def completion_tokens(self) -> int:
        """Tokens of an episode after its prompt."""
        return self.turns * self.policy_tokens + (self.turns - 1) * self.environment_tokens

    @property
    def lengths(self) -> Lengths:
        """What a step holds."""
        policy = self.episodes * self.turns * self.policy_tokens
        return Lengths(
            episodes=self.episodes,
            tokens=self.episodes * self.episode_tokens,
            policy_tokens=policy,
            trained_tokens=policy,
        )

    def of(self, *, groups: int | None = None, tiny: bool = False) -> Scenario:
        """The same with another number of groups or, for trying things out, with very short texts."""
        scenario = self
        if tiny:
            scenario = replace(
                scenario,
                groups=2,
                group_size=4,
                prompt_tokens=48,
                turns=min(scenario.turns, 3),
                policy_tokens=6,
                environment_tokens=60,
            )
        return scenario if groups is None else replace(scenario, groups=groups)


SCENARIOS: dict[str, Scenario] = {
    "multi-turn": Scenario(name="multi-turn", prompt_tokens=200, turns=4, policy_tokens=40, environment_tokens=60),
    "single-turn": Scenario(name="single-turn", prompt_tokens=131, turns=1, policy_tokens=64, environment_tokens=60),
}
"""The training steps that are timed."""


class Workload:
    """A scenario in a tokenizer's tokens.

    Args:
        scenario: The lengths.
        codec: Whose tokens.
        seed: Of words and rewards.
    """

    def __init__(self, scenario: Scenario, codec: TextCodec, *, seed: int = 0) -> None:
        self.scenario = scenario
        self.codec = codec
        self.seed = seed
        self._documents: dict[tuple[int, int], str] = {}

    @cached_property
    def questions(self) -> list[str]:
        """One a group."""
        return [
            pad_text(
                "Where is it?",
                lambda text: len(self.codec.encode_first(self._prompt_text(text))),
                self.scenario.prompt_tokens,
                random.Random(f"{self.seed} question {group}"),
            )
            for group in range(self.scenario.groups)
        ]

    @cached_property
    def prompts(self) -> list[list[int]]:
        """The ids of each group's prompt, chat template included."""
        return [self.codec.encode_first(self._prompt_text(question)) for question in self.questions]

    @cached_property
    def prompt_texts(self) -> list[str]:
        """The same as texts, control tokens spelled out, for a trainer that encodes them itself."""
        return [self.codec.decode(ids) for ids in self.prompts]

    def document(self, group: int, turn: int) -> Document:
        """What the search of a turn, counted from 1, finds."""
        key = (group, turn)
        if key not in self._documents:
            self._documents[key] = pad_text(
                "It",
                lambda text: len(self.codec.encode(_block(text))),
                self.scenario.environment_tokens,
                random.Random(f"{self.seed} document {group} {turn}"),
            )
        return Document(self._documents[key])

    def environment_ids(self, group: int, turn: int) -> list[int]:
        """The ids that the environment adds after a turn, counted from 1."""
        return self.codec.encode(_block(self.document(group, turn).text))

    @cached_property
    def rewards(self) -> list[float]:
        """1.0 or 0.0 for each episode, group by group; no group is all of one, so every token is trained on."""
        rng, rewards = random.Random(f"{self.seed} rewards"), list[float]()
        for _ in range(self.scenario.groups):
            num_right = rng.randint(1, self.scenario.group_size - 1)
            group = [1.0] * num_right + [0.0] * (self.scenario.group_size - num_right)
            rng.shuffle(group)
            rewards += group
        return rewards

    @staticmethod
    def _prompt_text(question: str) -> str:
        return render_prompt(PROMPTS[PROMPT], question)


def _block(text: str) -> str:
    return render_information([line for line, _ in show_documents([Document(text)])])


def pad_text(start: str, count: Callable[[str], int], wanted: int, rng: random.Random) -> str:
    """Lengthen a text by words, and at the end by letters, until it counts exactly `wanted` tokens.

    Args:
        start: What it begins with.
        count: Tokens of a text, with all that stands around it.
        wanted: How many there are to be.
        rng: Which words.

    Raises:
        ConfigError: The text has more already, or no word or letter ends where it should.
    """
    text = start
    if count(text) > wanted:
        raise ConfigError(
            f"A text of {count(text)} tokens, all that stands around it included, can't be padded to {wanted}: give "
            "the scenario longer ones."
        )
    while (missing := wanted - count(text)) > 0:
        words = [f" {word}" for word in rng.sample(_WORDS, len(_WORDS))]
        fitting = (
            piece for piece in [*words, ".", "a", "7", "!"] if 0 < wanted - missing < count(text + piece) <= wanted
        )
        piece = next(fitting, None)
        if piece is None:
            raise ConfigError(f"No word ends a text at exactly {wanted} tokens with this tokenizer: {text!r:.200}.")
        text += piece
    return text
