"""Read, make and write suites."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from benchmarks.leaderboard.errors import SuiteError
from benchmarks.leaderboard.suites.loading import load_set
from benchmarks.leaderboard.suites.pins import NAME, SetPin, Suite
from zs_env.files import write_text

__all__ = ["SUITES", "load_suite", "pin_suite", "questions_suite", "write_suite"]

SUITES = ("atlas", "zerosearch")
"""The suites that come with the project."""

_FIELDS = ("name", "place", "split", "revision", "size", "file", "sha256", "fingerprint", "hops")


def load_suite(name: str | Path) -> Suite:
    """A suite of the project by its name, or that of a TOML file.

    Raises:
        SuiteError: There is none of this name, or the file is malformed; the message says where and why.
    """
    if str(name) in SUITES:
        text = (resources.files(__package__) / f"{name}.toml").read_text(encoding="utf-8")
        return _parse(text, f"{name}.toml")
    path = Path(name).expanduser()
    if path.suffix != ".toml":
        raise SuiteError(
            f"There is no suite {str(name)!r}: the suites are {', '.join(SUITES)}. Name one of these or a .toml file, "
            "or give files of questions with --questions."
        )
    try:
        return _parse(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"The suite {path.name!r} can't be read: {error}.") from error


def questions_suite(files: Sequence[str | Path], split: str | None = None) -> Suite:
    """A suite of files of questions, each a set that is called by the file's stem.

    Args:
        files: Paths, or `NAME=PATH` to call a set something else.
        split: Of files whose rows say which split they belong to.

    Raises:
        SuiteError: There is no file, or two have one name.
    """
    return Suite(name="questions", version=1, sets=tuple(_file_pin(str(file), split) for file in files))


def _file_pin(file: str, split: str | None) -> SetPin:
    name, equals, path = file.partition("=")
    if not equals or not NAME.fullmatch(name) or Path(file).exists():
        name, path = _as_name(Path(file).stem), file
    return SetPin(name=name, place=path, split=split)


def _as_name(stem: str) -> str:
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in stem.casefold())
    return plain.strip("._-") or "questions"


def pin_suite(suite: Suite) -> Suite:
    """The suite with everything filled in that it doesn't know: every set is loaded whole.

    Raises:
        SuiteError: A set isn't what the suite pins already.
        ConfigError: A set can't be loaded.
    """
    return Suite(name=suite.name, version=suite.version, sets=tuple(load_set(pin).pin for pin in suite.sets))


def write_suite(path: Path, suite: Suite) -> None:
    """Write a suite as the TOML file that `load_suite` reads."""
    lines = [f"name = {_quoted(suite.name)}", f"version = {suite.version}"]
    for pin in suite.sets:
        lines += ["", "[[set]]"]
        values = {name: getattr(pin, name) for name in _FIELDS}
        lines += [
            f"{name} = {_quoted(value) if isinstance(value, str) else value}"
            for name, value in values.items()
            if value is not None and value != ""
        ]
    write_text(path, "\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parse(text: str, where: str) -> Suite:
    try:
        found = tomllib.loads(text)
    except ValueError as error:
        raise SuiteError(f"The suite {where} is no TOML: {error}.") from error
    _refuse_unknown(found, ("name", "version", "set"), where)
    rows = found.get("set")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SuiteError(f"The suite {where} has no tables [[set]]. Write one for each set.")
    return Suite(
        name=found.get("name", ""), version=found.get("version", 0), sets=tuple(_pin(row, where) for row in rows)
    )


def _pin(row: Mapping[str, Any], where: str) -> SetPin:
    _refuse_unknown(row, _FIELDS, f"{where}, set {row.get('name', '?')}")
    missing = [name for name in ("name", "place") if name not in row]
    if missing:
        raise SuiteError(f"The suite {where}: a set has no {missing[0]}: {dict(row)!r:.200}.")
    return SetPin(**{name: value for name, value in row.items() if value != "" or name in ("name", "place")})


def _refuse_unknown(found: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    strange = [name for name in found if name not in known]
    if strange:
        raise SuiteError(f"The suite {where} says {strange[0]!r}, which is unknown; it may say {', '.join(known)}.")
