"""Load a set of a suite, and refuse it where it isn't what the suite pins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.questions import pick_questions
from benchmarks.leaderboard.errors import SuiteError
from benchmarks.leaderboard.suites.hub_files import hub_file
from benchmarks.leaderboard.suites.pins import SetPin
from zs_env.files import hash_file
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Questions, the commit that they are of, and the hash of the file that they were read from, where there is one."""

    source: QuestionSource
    revision: str | None = None
    sha256: str | None = None


def load_set(pin: SetPin, *, limit: int | None = None, place: str | None = None, offline: bool = False) -> LoadedSet:
    """Load a set's questions and hold them against the pin.

    Args:
        pin: The set.
        limit: Play only a sample of so many, the same in every run (`agents.questions.pick_questions`).
        place: Load it from here instead: a file or a hub-shaped folder (`hf:<folder>:<config>`) of the same questions.
        offline: Take what is pinned from the cache of this machine, and ask no hub.

    Raises:
        SuiteError: What was found isn't what was pinned; the message holds both, and the way out.
        ConfigError: It can't be loaded.
    """
    found = _find(pin, offline) if place is None else _find_elsewhere(pin, place)
    _check(pin, found)
    source = found.source
    questions = [_with_hops(question, pin.hops) for question in pick_questions(source, limit)]
    return LoadedSet(
        pin=replace(pin, revision=found.revision, size=len(source), fingerprint=source.fingerprint),
        source=_shown(place or pin.place),
        limit=limit,
        questions=questions,
        source_fingerprint=source.fingerprint,
        fingerprint=fingerprint(questions),
    )


def _find(pin: SetPin, offline: bool) -> _Found:
    if not pin.on_hub:
        return _find_elsewhere(pin, pin.place)
    place = HubPlace.parse(pin.place)
    if place.folder is not None:
        return _find_in_folder(pin, place.folder)
    if offline:
        return _find_cached(pin, place)
    commit = find_commit(replace(place, revision=pin.revision))
    if pin.file is None:
        return _Found(source=load_questions(f"{pin.place}@{commit}", pin.split), revision=commit)
    return _read_file(hub_file(place, pin.file, commit), commit)


def _find_in_folder(pin: SetPin, folder: Path) -> _Found:
    if pin.file is None:
        return _Found(source=load_questions(pin.place, pin.split))
    return _read_file(folder / pin.file, None)


def _find_cached(pin: SetPin, place: HubPlace) -> _Found:
    if pin.file is not None and pin.revision is not None:
        return _read_file(hub_file(place, pin.file, pin.revision, offline=True), pin.revision)
    if not pin.fingerprint:
        raise SuiteError(
            f"The set {pin.name!r} can't be taken from the cache: its suite pins neither a file at a revision nor a "
            "fingerprint, so nothing tells whether it is the right one. Load it from the hub."
        )
    # The fingerprint decides, whatever revision the cache holds.
    return _Found(source=load_questions(pin.place, pin.split), revision=pin.revision)


def _find_elsewhere(pin: SetPin, place: str) -> _Found:
    """From a file, a folder or the atlas. A file that is pinned by its hash holds one split, whatever its rows say."""
    path = Path(place).expanduser()
    revision = pin.revision if pin.fingerprint or pin.sha256 else None  # without a hash nothing tells which it is of
    if place.startswith(PREFIX) or not path.is_file():
        return _Found(source=load_questions(place, pin.split), revision=revision)
    split = None if pin.on_hub else pin.split
    return _Found(source=load_questions(path, split), revision=revision, sha256=hash_file(path))


def _read_file(path: Path, commit: str | None) -> _Found:
    return _Found(source=load_questions(path), revision=commit, sha256=hash_file(path))


def _check(pin: SetPin, found: _Found) -> None:
    size = len(found.source)
    if pin.revision is not None and found.revision is not None and found.revision != pin.revision:
        raise SuiteError(_refusal(pin, "revision", pin.revision, found.revision))
    if pin.size is not None and size != pin.size:
        raise SuiteError(_refusal(pin, "size", f"{pin.size:,} questions", f"{size:,}"))
    if pin.fingerprint:
        if found.source.fingerprint != pin.fingerprint:
            raise SuiteError(_refusal(pin, "fingerprint", pin.fingerprint, found.source.fingerprint))
    elif pin.sha256 and found.sha256 != pin.sha256:
        what = f"SHA-256 of {pin.file}" if pin.file else "SHA-256"
        raise SuiteError(_refusal(pin, what, pin.sha256, found.sha256 or "no one file"))


def _refusal(pin: SetPin, what: str, pinned: object, found: object) -> str:
    split = "" if pin.split is None else f", split {pin.split!r}"
    return (
        f"The set {pin.name!r} ({_shown(pin.place)}{split}) isn't what its suite pins: {what} {pinned} was pinned, and "
        f"{found} was found. Its figures couldn't be compared with those of others. Give the data that were pinned; or "
        "run these as questions of their own (--questions FILE), or pin a suite of another name (leaderboard pin)."
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
