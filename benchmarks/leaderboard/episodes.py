"""What became of one question on the board: the line of a record's episodes, and all that figures are made of.

One question is one record: its outcome, its searches with their draws, what it took, and the transcript with who wrote
each part. Metrics, intervals, paired tests and the page are made of these alone, so anyone can make them again.
"""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from agents.trajectory import SearchRecord, TrajectoryStatus
from zs_env.episode import Segment
from zs_env.errors import ConfigError
from zs_env.files import whole_file

__all__ = ["PlayedEpisode", "read_episodes", "write_episodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedEpisode:
    """One question that an agent played.

    Attributes:
        set: The name of the suite's set that the question is of.
        index: Which of the set's played questions it is, from 0. `(set, index)` is unique in a record.
        question_id: The question's id within its source.
        question: Its text.
        golden_answers: What counts as right.
        hops: How many facts it needs, where its source says so.
        status: How it ended; "failed" and "search_failed" are no doing of the agent's, and count in no figure.
        answer: What the agent answered; None if it didn't.
        exact_match: 1.0 or 0.0.
        f1: Token F1, in [0, 1].
        containment: 1.0 if a golden answer stands in the answer.
        judged: What a language model judged, True for right; None if none was asked or it gave no verdict.
        num_turns: Actions, invalid ones included.
        num_searches: Searches that were carried out.
        num_invalid: Actions that were none.
        prompt_tokens: Tokens that the policy read, each call's whole prompt counted, as a server bills them.
        completion_tokens: Tokens that it wrote.
        seconds: From its first call to its end, waits beside other questions included.
        search_seconds: Of these, those that its searches took, as the engine measured them.
        search_cost: What its searches cost, in the unit of the engine's price table.
        searches: Its searches, in order, with their draws.
        segments: The transcript, and who wrote each part.
        error: What went wrong, if it failed. Never part of a segment.
    """

    set: str
    index: int
    question_id: str
    question: str
    golden_answers: tuple[str, ...]
    hops: int | None = None
    status: TrajectoryStatus
    answer: str | None = None
    exact_match: float = 0.0
    f1: float = 0.0
    containment: float = 0.0
    judged: bool | None = None
    num_turns: int = 0
    num_searches: int = 0
    num_invalid: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    search_seconds: float = 0.0
    search_cost: float = 0.0
    searches: tuple[SearchRecord, ...] = ()
    segments: tuple[Segment, ...] = ()
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether something else than the agent ended it."""
        return self.status in ("failed", "search_failed")

    def to_json(self) -> dict[str, Any]:
        """Its content in plain JSON types."""
        return asdict(self) | {"segments": [list(segment) for segment in self.segments]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> PlayedEpisode:
        """The episode that `to_json` described.

        Raises:
            ConfigError: The record is not one of an episode.
        """
        known = {item.name for item in fields(cls)}
        if not isinstance(record, Mapping) or not {"set", "index", "question_id", "status"} <= set(record) <= known:
            raise ConfigError(f"Not a played episode: {record!r:.200}. It holds the fields {sorted(known)}.")
        values = dict(record)
        try:
            values["golden_answers"] = _texts(values["golden_answers"])
            values["searches"] = tuple(SearchRecord(**search) for search in values.get("searches", ()))
            values["segments"] = tuple(Segment(*segment) for segment in values.get("segments", ()))
            episode = cls(**values)
            _check_types(episode, _EPISODE_TYPES)
            for search in episode.searches:
                _check_types(search, _SEARCH_TYPES)
            return episode
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"Not a played episode ({error}): {record!r:.200}.") from error


_WHOLE, _NUMBER = (int,), (int, float)
_EPISODE_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("set", "question_id", "question", "status"), (str,)),
    **dict.fromkeys(("answer", "error"), (str, type(None))),
    "judged": (bool, type(None)),
    "hops": (int, type(None)),
    **dict.fromkeys(("index", "num_turns", "num_searches", "num_invalid"), _WHOLE),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), _WHOLE),
    **dict.fromkeys(("exact_match", "f1", "containment", "seconds", "search_seconds", "search_cost"), _NUMBER),
}
_SEARCH_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("query", "quality", "engine"), (str,)),
    **dict.fromkeys(("route", "error"), (str, type(None))),
    "contains_golden": (bool,),
    "num_documents": _WHOLE,
    **dict.fromkeys(("latency_s", "cost"), _NUMBER),
}


def _texts(values: Any) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"golden_answers are texts; got {values!r:.100}")
    return tuple(values)


def _check_types(told: object, types: Mapping[str, tuple[type, ...]]) -> None:
    """See that figures can be made of it: what is a number is finite, and not below 0.

    Raises:
        TypeError: A field is of another type.
        ValueError: A number is none that can be.
    """
    for name, kinds in types.items():
        value = getattr(told, name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"{name} is {value!r:.60}, of the wrong type ({type(value).__name__})")
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}, which can't be")


def write_episodes(path: Path, episodes: Iterable[PlayedEpisode]) -> None:
    """Write a gzip file of JSON lines, whole or not at all; equal episodes give an equal text."""
    with (
        whole_file(path) as part,
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        for episode in episodes:
            # ensure_ascii keeps U+2028 and its like from being taken for the end of a line.
            file.write(json.dumps(episode.to_json()) + "\n")


def read_episodes(path: Path) -> Iterator[PlayedEpisode]:
    """Read what `write_episodes` wrote, or the same not packed (`.jsonl`).

    Raises:
        ConfigError: The file can't be read, or a line is not an episode; the message names file and line.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for line in file:
                number += 1
                yield PlayedEpisode.from_json(json.loads(line))
    except (OSError, EOFError, ValueError, ConfigError) as error:
        raise ConfigError(f"{path.name}, line {number}: {error}") from error
