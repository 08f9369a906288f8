"""What a suite says of its sets: where each is, and what tells whether it is still the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.leaderboard.errors import SuiteError
from zs_env.questions.hub import PREFIX

__all__ = ["NAME", "SetPin", "Suite"]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
"""What suites and sets may be called: names go into folders and addresses."""

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPin:
    """One set of a suite.

    Attributes:
        name: What it is called, unique within the suite.
        place: Where it is, as `load_questions` takes it, without a revision: "atlas", "hf:<id>:<config>", a file.
        split: Which split; None if the place has none.
        revision: The commit of a hub data set; None of what has no revisions, and where it isn't known.
        size: How many questions the split holds; None where it isn't known.
        fingerprint: `zs_env.questions.source.fingerprint` of all of them; empty where it isn't known.
        file: The file of a hub data set that holds the split, read as it is; None to read it through `datasets`.
        sha256: Of that file's bytes; empty where it isn't known. It stands in for a fingerprint that isn't known: equal
            bytes are equal questions.
        hops: How many facts each question needs; None where questions differ, or say so themselves.
    """

    name: str
    place: str
    split: str | None = None
    revision: str | None = None
    size: int | None = None
    fingerprint: str = ""
    file: str | None = None
    sha256: str = ""
    hops: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise SuiteError(
                f"A set can't be called {self.name!r}: names are of small letters, digits, '.', '_' and '-'."
            )
        if not isinstance(self.place, str) or not self.place.strip():
            raise SuiteError(f"The set {self.name!r} needs a place to load it from; got {self.place!r}.")
        if "@" in self.place and self.on_hub:
            raise SuiteError(
                f"The set {self.name!r}: write the revision as revision = …, not in the place {self.place!r}."
            )
        for name, value in (("size", self.size), ("hops", self.hops)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise SuiteError(f"The set {self.name!r}: {name} is a whole number of at least 1; got {value!r}.")
        if self.fingerprint and not _FINGERPRINT.fullmatch(str(self.fingerprint)):
            raise SuiteError(
                f"The set {self.name!r}: a fingerprint is 16 hexadecimal digits, or empty where it isn't known; got "
                f"{self.fingerprint!r}."
            )
        if self.sha256 and not _SHA256.fullmatch(str(self.sha256)):
            raise SuiteError(
                f"The set {self.name!r}: sha256 is 64 hexadecimal digits, or empty where it isn't known; got "
                f"{self.sha256!r}."
            )
        if self.file is not None and not (self.on_hub and _is_inside(self.file)):
            raise SuiteError(
                f"The set {self.name!r}: file is the path of a file inside a hub data set; got {self.file!r} for "
                f"{self.place!r}."
            )
        if self.revision is not None and not (self.on_hub and _COMMIT.fullmatch(str(self.revision))):
            raise SuiteError(
                f"The set {self.name!r}: a revision is the commit of a hub data set, 40 hexadecimal digits (a branch "
                f"or a tag may move); got {self.revision!r} for {self.place!r}."
            )

    @property
    def on_hub(self) -> bool:
        """Whether it comes from the Hugging Face hub, or a folder shaped like it."""
        return self.place.startswith(PREFIX)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What of it isn't pinned, though it could be."""
        wanted = {
            "revision": self.revision or not self.on_hub,
            "size": self.size,
            "hash": self.fingerprint or self.sha256,
        }
        return tuple(name for name, value in wanted.items() if not value)


def _is_inside(file: object) -> bool:
    return isinstance(file, str) and bool(file) and not file.startswith("/") and ".." not in file.split("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Sets that are run together, and averaged with equal weights.

    Attributes:
        name: What it is called.
        version: Goes up whenever a set changes: rows of two versions aren't compared.
        sets: Its sets, in the order of tables.
    """

    name: str
    version: int
    sets: tuple[SetPin, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise SuiteError(
                f"A suite can't be called {self.name!r}: names are of small letters, digits, '.', '_' and '-'."
            )
        if not isinstance(self.version, int) or isinstance(self.version, bool) or self.version < 1:
            raise SuiteError(f"The suite {self.name!r}: version is a whole number of at least 1; got {self.version!r}.")
        if not self.sets:
            raise SuiteError(f"The suite {self.name!r} has no sets. Write a table [[set]] for each.")
        names = [pin.name for pin in self.sets]
        again = [name for name in names if names.count(name) > 1]
        if again:
            raise SuiteError(f"Two sets of the suite {self.name!r} are called {again[0]!r}: name them apart.")

    @property
    def unknown(self) -> dict[str, tuple[str, ...]]:
        """For each set that isn't pinned in full, what is missing."""
        return {pin.name: pin.unknown for pin in self.sets if pin.unknown}
