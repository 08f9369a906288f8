"""The file of recorded searches: JSON lines.

    {"schema": "zerosearch.searches/1", "engine": "template", "fingerprint": null, "draw": true}
    {"key": "…", "query": "…", "question": "…", "quality": "useful", "seed": 5, "topk": 5, "result": {…}}
    …

A line is written in one piece at the file's end, so several threads and processes may write one file. A line that a
kill or a full disk cut off is passed over by readers, and the next one begins on a line of its own.
"""

from __future__ import annotations

import json
import mmap
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError

__all__ = ["SCHEMA", "RecordReader", "RecordWriter"]

SCHEMA = "zerosearch.searches/1"
"""The version of the file's form."""


class RecordWriter:
    """Adds lines to a record; it is made if it isn't there.

    Args:
        path: The file.
        header: What its first line says beside the schema; a file that is there must say the same.

    Raises:
        ConfigError: The file is no record, or one of another engine, or can't be written.
    """

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        self._path = Path(path).expanduser().absolute()
        self._lock = threading.Lock()
        first = {"schema": SCHEMA, **header}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._make(json.dumps(first) + "\n")
            found = _read_header(self._path)
            if found != first:
                raise ConfigError(
                    f"{str(self._path)!r} holds searches of {_shown(found)}, and these are of {_shown(first)}: give "
                    "the path of another file."
                )
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
            size = os.fstat(self._file).st_size
            os.lseek(self._file, size - 1, os.SEEK_SET)
            self._torn = os.read(self._file, 1) != b"\n"
        except OSError as error:
            raise ConfigError(f"The record {str(self._path)!r} can't be written: {error}.") from error

    def _make(self, header: str) -> None:
        """Make the file with its header, whole or not at all; leave one that is there."""
        if self._path.exists():
            return
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.{threading.get_ident()}")
        temporary.write_text(header, encoding="utf-8")
        try:
            os.link(temporary, self._path)  # fails if another process was quicker
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not self._path.exists():
                os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add a line for each record.

        Raises:
            OSError: They can't be written.
            TypeError: One isn't of plain JSON types.
        """
        data = "".join(json.dumps(record) + "\n" for record in records).encode()
        with self._lock:
            if self._torn:
                data = b"\n" + data
            self._torn = True
            while data:
                data = data[os.write(self._file, data) :]
            self._torn = False

    def close(self) -> None:
        """Close the file, with all of it on the disk."""
        with self._lock:
            os.fsync(self._file)
            os.close(self._file)


class RecordReader:
    """Finds recorded searches by their keys. It reads the file once, keeps where each line is, and opens it no more.

    Args:
        path: The file.

    Attributes:
        header: What its first line says.
        num_searches: How many searches it holds.
        num_broken: How many lines can't be read.

    Raises:
        ConfigError: There is no such file, or it is no record, or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.header: dict[str, Any] = _read_header(self.path)
        self.num_searches = self.num_broken = 0
        self._spans: dict[str, list[tuple[int, int]]] = {}
        with self.path.open("rb") as file:
            # A map can be read by threads and forked processes at the same time, and needn't fit into memory.
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = self._data.find(b"\n") + 1
        while 0 < start < len(self._data):
            end = self._data.find(b"\n", start)
            end = len(self._data) if end < 0 else end
            self._add(start, end)
            start = end + 1

    def _add(self, start: int, end: int) -> None:
        line = self._data[start:end]
        if not line.strip():
            return
        try:
            record = json.loads(line)
            key, result = record["key"], record["result"]
        except (ValueError, KeyError, TypeError):
            self.num_broken += 1
            return
        if isinstance(key, str) and isinstance(result, dict):
            self._spans.setdefault(key, []).append((start, end))
            self.num_searches += 1

    def count(self, key: str) -> int:
        """How often a search was recorded."""
        return len(self._spans.get(key, ()))

    def read(self, key: str, number: int) -> dict[str, Any]:
        """The result of the `number`-th time that a search was recorded, from 0."""
        start, end = self._spans[key][number]
        result: dict[str, Any] = json.loads(self._data[start:end])["result"]
        return result


def _read_header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} is no record of searches that can be read: {error}.") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        found = header.get("schema") if isinstance(header, dict) else header
        raise ConfigError(f"{str(path)!r} is no record of searches of this version ({SCHEMA}); it says {found!r:.100}.")
    return header


def _shown(header: Mapping[str, Any]) -> str:
    return f"engine {header.get('engine')!r} (fingerprint {header.get('fingerprint')}, draw {header.get('draw')})"
