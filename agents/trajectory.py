"""What an episode was to the policy: token ids, who wrote each of them, and how it ended.

A trajectory keeps the ids that were sampled; its text is never tokenised again. Whether a token is trained on is told
by its segment's provenance alone, never by its id, so a padding id that equals the end-of-turn id means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from zs_env.episode import Provenance
from zs_env.errors import ConfigError
from zs_env.types import Quality

__all__ = ["SearchRecord", "TokenSegment", "Trajectory", "TrajectoryStatus", "read_trajectories", "write_trajectories"]

TrajectoryStatus = Literal["answered", "out_of_turns", "out_of_tokens", "search_failed", "failed"]
"""How an episode ended: as `zs_env` says, or "out_of_tokens" (what came next didn't fit the token budget), or "failed"
(something that isn't the policy's doing raised)."""


@dataclass(frozen=True, slots=True)
class TokenSegment:
    """A run of tokens by one writer.

    Attributes:
        provenance: Who wrote them: "prompt", "policy" or "environment".
        ids: The token ids; a policy's are as sampled.
        text: What they say, for people.
        logprobs: The natural log of the probability that each id was sampled with, under the distribution that it was
            really drawn from. For policy segments only, one an id.
    """

    provenance: Provenance
    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.provenance == "policy":
            if self.logprobs is None or len(self.logprobs) != len(self.ids):
                found = "none" if self.logprobs is None else len(self.logprobs)
                raise ConfigError(f"A policy segment needs one log-prob a token; got {found} for {len(self.ids)} ids.")
        elif self.logprobs is not None:
            raise ConfigError(f"Only a policy segment has log-probs, not one of provenance {self.provenance!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecord:
    """One search of an episode, with its draw.

    Attributes:
        turn: The turn that searched, counted from 1.
        query: What was asked.
        quality: What the draw asked of the engine.
        noise_probability: The chance that "noisy" was drawn with.
        seed: The draw that the engine's randomness came from.
        supports_query: Whether the documents held what the query asked for; None if the engine can't know.
        contains_golden: Whether the documents, as shown, held a golden answer.
        engine: Who answered.
        num_documents: How many documents came back.
        cut: Whether a budget cut them.
        cached: Whether they came from a cache.
        latency_s: Seconds that the engine took.
        cost: What it cost.
        error: Why it failed; None if it didn't.
        attacks: What hostile documents were among those that came back: `attack`, `variant` and `pushes` of each.
        route: Which side of a hybrid engine answered, "simulated" or "real"; None of other engines.
    """

    turn: int
    query: str
    quality: Quality
    noise_probability: float
    seed: int
    supports_query: bool | None
    contains_golden: bool
    engine: str
    num_documents: int
    cut: bool
    cached: bool
    latency_s: float
    cost: float
    error: str | None
    attacks: tuple[Mapping[str, Any], ...] = ()
    route: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.attacks, list):  # as JSON has it
            object.__setattr__(self, "attacks", tuple(self.attacks))


@dataclass(slots=True, kw_only=True)
class Trajectory:
    """One episode.

    Attributes:
        question_id: The question's id within its source.
        question: Its text.
        golden_answers: What counts as right.
        group: Which trajectories it is compared with: unique to one question of one training step, never an index
            into a data set.
        noise_probability: The chance that each of its searches asked for noisy documents.
        segments: Its tokens, in order.
        actions: The kind of each action: "search", "answer" or "invalid".
        searches: Its searches, in order.
        reward: What it earned.
        status: How it ended.
        answer: What the policy answered; None if it didn't.
        exact_match: 1.0 or 0.0.
        f1: Token F1 of the answer, in [0, 1].
        hops: How many facts the question needs, where its source says so.
        weight_version: The version of the weights that wrote its first action.
        error: What went wrong, if the status is "failed" or "search_failed". Never part of any segment.
    """

    question_id: str
    question: str
    golden_answers: tuple[str, ...]
    group: int
    noise_probability: float = 0.0
    segments: list[TokenSegment] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    searches: list[SearchRecord] = field(default_factory=list)
    reward: float = 0.0
    status: TrajectoryStatus = "failed"
    answer: str | None = None
    exact_match: float = 0.0
    f1: float = 0.0
    hops: int | None = None
    weight_version: int = 0
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether something else than the policy ended it: it is counted, and kept out of the loss."""
        return self.status in ("failed", "search_failed")

    @property
    def truncated(self) -> bool:
        """Whether it ended without an answer."""
        return self.status != "answered"

    @property
    def num_searches(self) -> int:
        """Searches that were carried out."""
        return sum(search.error is None for search in self.searches)

    @property
    def num_tokens(self) -> int:
        """Tokens in all."""
        return sum(len(segment.ids) for segment in self.segments)

    @property
    def num_policy_tokens(self) -> int:
        """Tokens that the policy wrote."""
        return sum(len(segment.ids) for segment in self.segments if segment.provenance == "policy")

    @property
    def text(self) -> str:
        """Everything that was said, in order."""
        return "".join(segment.text for segment in self.segments)

    def ids(self) -> list[int]:
        """Every token id, in order."""
        return [token for segment in self.segments for token in segment.ids]

    def policy_mask(self) -> list[bool]:
        """For each token, whether the policy wrote it: from provenance, never from the id."""
        return [segment.provenance == "policy" for segment in self.segments for _ in segment.ids]

    def sampled_logprobs(self) -> list[float]:
        """For each token, the log-prob it was sampled with; 0.0 where the policy didn't write it."""
        return [
            logprob
            for segment in self.segments
            for logprob in (segment.logprobs if segment.logprobs is not None else (0.0,) * len(segment.ids))
        ]

    def to_json(self) -> dict[str, Any]:
        """Its content in plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Trajectory:
        """The trajectory that `to_json` described.

        Raises:
            ConfigError: The record is not one of a trajectory.
        """
        known = {item.name for item in fields(cls)}
        if not isinstance(record, Mapping) or not {"question_id", "segments"} <= set(record) <= known:
            raise ConfigError(f"Not a trajectory record: {record!r:.200}. It holds the fields {sorted(known)}.")
        values = dict(record)
        try:
            values["golden_answers"] = tuple(values["golden_answers"])
            values["searches"] = [SearchRecord(**search) for search in values["searches"]]
            values["segments"] = [_segment_from_json(segment) for segment in values["segments"]]
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"Not a trajectory record ({error}): {record!r:.200}.") from error


def _segment_from_json(record: Mapping[str, Any]) -> TokenSegment:
    logprobs = record["logprobs"]
    return TokenSegment(
        record["provenance"], tuple(record["ids"]), record["text"], None if logprobs is None else tuple(logprobs)
    )


def write_trajectories(path: Path, trajectories: Iterable[Trajectory], **extra: Any) -> None:
    """Append trajectories to a JSON-lines file: text, provenance, draws and outcome, one episode a line.

    Args:
        path: The file; it is made if it isn't there.
        trajectories: What to write.
        extra: Plain JSON values put before each record under `"context"` (`step=3`, say).
    """
    with path.open("a", encoding="utf-8") as file:
        for trajectory in trajectories:
            record = {"context": extra} | trajectory.to_json()
            # ensure_ascii keeps U+2028 and its like from being taken for the end of a line.
            file.write(json.dumps(record) + "\n")


def read_trajectories(path: Path) -> Iterator[Trajectory]:
    """Read what `write_trajectories` wrote.

    Raises:
        ConfigError: A line is not a trajectory; the message names file and line.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
                record.pop("context", None)
                yield Trajectory.from_json(record)
            except (ValueError, AttributeError, TypeError) as error:
                raise ConfigError(f"{path}, line {number}: {error}") from error
