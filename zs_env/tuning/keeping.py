"""Files of JSON lines that a stopped command goes on with: a header of settings, then rows, written as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.files import cut_file, write_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["KeptFile", "check_header", "differences", "has_rows", "is_busy", "read_header"]


class KeptFile:
    """Rows in a file, for one command at a time; the file is made if it isn't there.

    A last line that a kill cut off is taken away when the file is opened; a file that holds its header alone is made
    anew.

    Args:
        path: The file.
        header: Its first line: the schema, and the settings that all rows depend on.
        instead: What an error names as the way out, beside giving the same settings.

    Attributes:
        path: The file.
        rows: What it held when it was opened, in order; lines that can't be read are passed over.
        ends: Where each of these ends in the file, in bytes.

    Raises:
        ConfigError: It is of other settings, another command writes it, or it can't be written.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any], *, instead: str = "give the path of another file"
    ) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.ends: list[int] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_text(path, _line(header))
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise ConfigError(f"{str(path)!r} can't be written: {error}.") from error
        try:
            _lock(self._file, path)
            self._make_anew(header)
            check_header(path, header, instead=instead)
            self._read()
        except BaseException:
            os.close(self._file)
            raise

    @property
    def size(self) -> int:
        """How long the file is, in bytes."""
        return os.fstat(self._file).st_size

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, in one piece where the system can; all of them or none.

        Raises:
            ConfigError: They can't be written, as on a full disk.
        """
        data, before = "".join(map(_line, rows)).encode(), self.size
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self.cut(before)
            raise ConfigError(
                f"{str(self.path)!r} can't be written any more: {error}. What it holds is whole: mend that, and run "
                "the same command again."
            ) from error
        except BaseException:
            self.cut(before)
            raise

    def cut(self, num_bytes: int) -> None:
        """Take away all that stands behind the first bytes."""
        cut_file(self.path, num_bytes)

    def close(self) -> None:
        """Close the file, with all of it on the disk."""
        os.fsync(self._file)
        os.close(self._file)

    def _make_anew(self, header: Mapping[str, Any]) -> None:
        """Take the place of a header that has nothing behind it, in the same file, for others may wait for its lock."""
        found = read_header(self.path)
        is_ours = self.size == 0 or (found is not None and found.get("schema") == header["schema"])
        if is_ours and not has_rows(self.path) and found != json.loads(_line(header)):
            self.cut(0)
            self.write([header])

    def _read(self) -> None:
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                if end == len(line):
                    continue  # the header
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    self.rows.append(row)
                    self.ends.append(end)
        cut_file(self.path, end)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=repr).encode("utf-8", "replace").decode() + "\n"


def _lock(file: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"{str(path)!r} is being written by another command: wait for it, or end it.") from error
    except OSError:  # a file system without locks
        return


def has_rows(path: Path) -> bool:
    """Whether a file is there and holds more than its header."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        file.readline()
        return bool(file.readline().endswith(b"\n"))


def is_busy(path: Path) -> bool:
    """Whether a command is writing a file at the moment, where the system can tell."""
    with path.open("rb") as file:
        try:
            _lock(file.fileno(), path)
        except ConfigError:
            return True
    return False


def read_header(path: Path) -> dict[str, Any] | None:
    """What a file says of itself; None if its first line isn't a header."""
    with path.open("rb") as file:
        try:
            found = json.loads(file.readline())
        except ValueError:
            return None
    return found if isinstance(found, dict) else None


def check_header(path: Path, header: Mapping[str, Any], *, instead: str = "give the path of another file") -> None:
    """See that a file says the same of itself as it would if it were made now.

    Args:
        path: The file.
        header: What it would say now.
        instead: What the error names as the way out, beside giving the same settings.

    Raises:
        ConfigError: It doesn't; the message names what differs.
    """
    found = read_header(path)
    wanted = json.loads(_line(header))
    if found is None or found.get("schema") != wanted["schema"]:
        said = None if found is None else found.get("schema")
        raise ConfigError(
            f"{str(path)!r} is there and no file of {wanted['schema']} (it says {said!r:.100}): {instead}."
        )
    if found != wanted:
        raise ConfigError(
            f"{str(path)!r} holds what other settings gave: {'; '.join(differences(found, wanted))}. Give these, or "
            f"{instead}."
        )


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], under: str = "") -> list[str]:
    """What differs between two headers, in words.

    Examples:
        >>> differences({"topk": 5, "policy": {"name": "question"}}, {"topk": 3, "policy": {"name": "keywords"}})
        ['topk is 5 there and 3 here', "policy.name is 'question' there and 'keywords' here"]
    """
    said = []
    for name in dict.fromkeys([*found, *wanted]):
        there, here = found.get(name), wanted.get(name)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            said += differences(there, here, f"{under}{name}.")
        elif there != here:
            said.append(f"{under}{name} is {there!r:.100} there and {here!r:.100} here")
    return said
