"""Load a set of a suite, and refuse it where it isn't what the suite pins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.evaluate import pick_questions
from benchmarks.leaderboard.errors import SuiteError
from benchmarks.leaderboard.suites.pins import SetPin
from zs_env.questions import load_questions
from zs_env.questions.hub import PREFIX, HubPlace, find_commit
from zs_env.questions.source import fingerprint
from zs_env.types import Question, QuestionSource

__all__ = ["LoadedSet", "load_set"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSet:
    """A set that was found to be what its pin says, and the questions of it that are played.

    Attributes:
        pin: The set, with everything filled in that the suite didn't know.
        source: What it was loaded from, without folders of this machine.
        limit: How many questions were asked for; None for all.
        questions: Those that are played.
        source_fingerprint: Of all questions of the split.
        fingerprint: Of those that are played: rows are compared where these are equal.
    """

    pin: SetPin
    source: str
    limit: int | None
    questions: list[Question]
    source_fingerprint: str
    fingerprint: str

    @property
    def name(self) -> str:
        """The set's name."""
        return self.pin.name

    def record(self) -> dict[str, Any]:
        """What a record's entry of the set says of its questions; `metrics` is added by whoever measures."""
        return {
            "name": self.pin.name,
            "source": self.source,
            "split": self.pin.split,
            "revision": self.pin.revision,
            "size": self.pin.size,
            "limit": self.limit,
            "n": len(self.questions),
            "source_fingerprint": self.source_fingerprint,
            "fingerprint": self.fingerprint,
        }


def load_set(pin: SetPin, *, limit: int | None = None, place: str | None = None, offline: bool = False) -> LoadedSet:
    """Load a set's questions and hold them against the pin.

    Args:
        pin: The set.
        limit: Play only a sample of so many, the same in every run (`agents.evaluate.pick_questions`).
        place: Load it from here instead, a file or a hub-shaped folder that holds the same questions.
        offline: Take a hub data set from the cache of this machine, whatever revision that has. The pin must know the
            fingerprint, which then decides.

    Raises:
        SuiteError: What was found isn't what was pinned; the message holds both, and the way out.
        ConfigError: It can't be loaded.
    """
    source, revision = _find(pin, place, offline)
    _check(pin, source, revision)
    found = replace(pin, revision=revision, size=len(source), fingerprint=source.fingerprint)
    questions = [_with_hops(question, pin.hops) for question in pick_questions(source, limit)]
    return LoadedSet(
        pin=found,
        source=_shown(place or pin.place),
        limit=limit,
        questions=questions,
        source_fingerprint=source.fingerprint,
        fingerprint=fingerprint(questions),
    )


def _find(pin: SetPin, place: str | None, offline: bool) -> tuple[QuestionSource, str | None]:
    """The questions, and the commit that they are of."""
    if place is not None:
        return _load(pin, place, pin.split), pin.revision
    if not pin.on_hub:
        return _load(pin, pin.place, pin.split), None
    if HubPlace.parse(pin.place).folder is not None:
        return _load(pin, pin.place, pin.split), None
    if offline:
        if not pin.fingerprint:
            raise SuiteError(
                f"The set {pin.name!r} can't be taken from the cache: its suite pins no fingerprint, so nothing tells "
                "whether it is the right one. Pin the suite once with the hub in reach, or load it from there."
            )
        return _load(pin, pin.place, pin.split), pin.revision
    at = pin.place if pin.revision is None else f"{pin.place}@{pin.revision}"
    commit = find_commit(HubPlace.parse(at))
    return _load(pin, f"{pin.place}@{commit}", pin.split), commit


def _load(pin: SetPin, place: str, split: str | None) -> QuestionSource:
    return load_questions(place, split)


def _check(pin: SetPin, source: QuestionSource, revision: str | None) -> None:
    if pin.revision is not None and revision != pin.revision:
        raise SuiteError(_refusal(pin, "revision", pin.revision, revision))
    if pin.size is not None and len(source) != pin.size:
        raise SuiteError(_refusal(pin, "size", f"{pin.size:,} questions", f"{len(source):,}"))
    if pin.fingerprint and source.fingerprint != pin.fingerprint:
        raise SuiteError(_refusal(pin, "fingerprint", pin.fingerprint, source.fingerprint))


def _refusal(pin: SetPin, what: str, pinned: object, found: object) -> str:
    return (
        f"The set {pin.name!r} isn't what its suite pins: {what} {pinned} was pinned, and {found} was found in "
        f"{_shown(pin.place)!r} (split {pin.split!r}). Figures of it couldn't be compared with others'. Give the data "
        "that was pinned, or pin a suite of your own under another name: python -m benchmarks leaderboard pin."
    )


def _with_hops(question: Question, hops: int | None) -> Question:
    if hops is None or "hops" in question.metadata:
        return question
    return replace(question, metadata={**question.metadata, "hops": hops})


def _shown(place: str) -> str:
    """A place without the folders of this machine."""
    if place.startswith(PREFIX):
        return str(HubPlace.parse(place))
    return Path(place).name if "/" in place or "\\" in place else place


def names(sets: Sequence[LoadedSet]) -> list[str]:
    """The names of sets."""
    return [each.name for each in sets]
