"""What a preparation is asked to do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.questions.hub import PREFIX, HubPlace

__all__ = ["CONFLICTS", "FLAGS", "FORMATS", "NEAR", "TRAIN", "PrepareSettings", "Source"]

TRAIN = "train"
FORMATS = ("jsonl", "parquet")
NEAR = ("drop", "group", "ignore")
CONFLICTS = ("first", "merge", "drop")
FLAGS = ("holds_answer", "yes_no", "overlong", "bare_answer")

_SPLIT_NAME = re.compile(r"\w+(\.\w+)*\Z")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that questions are read from.

    Attributes:
        place: `hf:<id>[:<config>][@<revision>]`, a folder shaped like a data set of the hub, or a file.
        split: The split that is read; None for all.
        into: The split that its questions are given in the output; None leaves it to the source.
        data_source: What its questions' data set is called, where its rows don't say; None for the configuration's or
            the file's name.
    """

    place: str
    split: str | None = None
    into: str | None = None
    data_source: str | None = None

    @property
    def hub(self) -> HubPlace | None:
        """The data set of the hub, or the folder shaped like one, that it is; None for a file."""
        if self.place.startswith(PREFIX) or Path(self.place).expanduser().is_dir():
            return HubPlace.parse(self.place)
        return None

    @property
    def name(self) -> str:
        """The place as records say it: without where it lies on this machine."""
        place = self.hub
        if place is not None:
            return str(place)
        path = Path(self.place)
        return path.name if path.is_absolute() or self.place.startswith("~") else path.as_posix()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, as records hold them."""
        return {"place": self.name, "split": self.split, "into": self.into, "data_source": self.data_source}


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What is prepared, and how.

    Attributes:
        sources: Where questions come from, in order: of two equal ones, the earlier stays.
        against: Evaluation sets whose questions are taken out of what is trained on.
        name: What the data set is called in its card.
        file_format: "jsonl" or "parquet".
        split_shares: The share of each split, by name, of questions that no split is given for or `train` is; None
            leaves all of them in `train`. The order counts.
        seed: What the division is drawn from.
        limit: How many rows of each source are read; None for all.
        strict: Whether one malformed row ends it.
        drop: Which of `FLAGS` take a question out; the others are only counted and written beside it.
        near: "drop" the later of two nearly equal questions that share an answer, "group" them into one split, or
            "ignore" the matter (then nearly equal questions of evaluation sets aren't looked for, either).
        conflicts: What becomes of equal questions with different answers: the "first" stays, they "merge", or
            all "drop".
        max_question_chars: A longer question is overlong.
        max_answer_chars: So is one with a longer golden answer.
    """

    sources: tuple[Source, ...]
    against: tuple[Source, ...] = ()
    name: str = "questions"
    file_format: str = "jsonl"
    split_shares: Mapping[str, float] | None = None
    seed: int = 0
    limit: int | None = None
    strict: bool = False
    drop: tuple[str, ...] = field(default=())
    near: str = "drop"
    conflicts: str = "first"
    max_question_chars: int = 1_000
    max_answer_chars: int = 200

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("There is nothing to prepare. Name at least one source with --from.")
        for option, value, known in (
            ("--format", self.file_format, FORMATS),
            ("--near-duplicates", self.near, NEAR),
            ("--conflicts", self.conflicts, CONFLICTS),
            *(("--drop", flag, FLAGS) for flag in self.drop),
        ):
            if value not in known:
                raise ConfigError(f"{option} is one of {', '.join(known)}; got {value!r}.")
        for option, number in (
            ("--limit", 1 if self.limit is None else self.limit),
            ("--max-question-chars", self.max_question_chars),
            ("--max-answer-chars", self.max_answer_chars),
        ):
            if number < 1:
                raise ConfigError(f"{option} is at least 1; got {number}.")
        for source in self.sources:
            if source.into is not None:
                check_split_name(source.into)
        if self.split_shares is not None:
            _check_shares(self.split_shares)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, as records hold them; equal settings give equal records."""
        return {
            "from": [source.to_json() for source in self.sources],
            "against": [source.to_json() for source in self.against],
            "name": self.name,
            "format": self.file_format,
            "split_shares": dict(self.split_shares) if self.split_shares is not None else None,
            "seed": self.seed,
            "limit": self.limit,
            "strict": self.strict,
            "drop": list(self.drop),
            "near_duplicates": self.near,
            "conflicts": self.conflicts,
            "max_question_chars": self.max_question_chars,
            "max_answer_chars": self.max_answer_chars,
        }


def check_split_name(name: str) -> None:
    """Refuse a split's name that can't be a file's and a data set's.

    Raises:
        ConfigError: It has other characters than letters, digits and underscores.
    """
    if not _SPLIT_NAME.match(name) or name in ("removed", "prepared", "all"):
        raise ConfigError(
            f"{name!r} can't be the name of a split: it has letters, digits and underscores, and isn't removed, "
            "prepared or all. Rename it with --into."
        )


def _check_shares(shares: Mapping[str, float]) -> None:
    for name, share in shares.items():
        check_split_name(name)
        if not 0 < share <= 1:
            raise ConfigError(f"The share of a split is above 0 and at most 1; got {name}={share:g}.")
    total = math.fsum(shares.values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise ConfigError(f"The shares of --split-shares must sum to 1; {dict(shares)} sum to {total:g}.")
