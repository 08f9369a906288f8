"""Corpora: files of passages, read one line at a time and, once indexed, by position.

A corpus is one file with a passage a line: `.jsonl` (or `.ndjson`) or `.tsv`, also with `.gz` behind. It is never held
in memory: the file that says where each passage begins is memory-mapped, and a passage is read when it is found.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zs_env.errors import ConfigError

__all__ = ["MAX_LINE_BYTES", "Passage", "Passages", "corpus_fingerprint", "is_packed", "open_corpus", "read_passages"]

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is taken for a mistake, such as a whole file of JSON in one line."""

_TEXT_NAMES = ("text", "contents", "content")
_ID_NAMES = ("id", "_id", "docid")
_RULE = 'Each line is a JSON object such as {"id": "7", "title": "Lima", "text": "Lima is the capital of Peru."}'


class Passage(NamedTuple):
    """One passage; `id` is None where the corpus gives none."""

    id: str | None
    title: str | None
    text: str

    @property
    def full_text(self) -> str:
        """What is indexed: title and text."""
        return f"{self.title}\n{self.text}" if self.title else self.text


Parse = Callable[[str], Passage | None]


class _LineError(ValueError):
    """What is wrong with a line; where it stands is added by those who know."""


def is_packed(path: Path) -> bool:
    """Whether a corpus is compressed, so that it can't be read by position."""
    return path.suffix.casefold() == ".gz"


def open_corpus(path: Path) -> IO[bytes]:
    """Open a corpus' lines.

    Raises:
        ConfigError: There is no such file, or its name's ending is unknown.
    """
    _format_of(path)
    if not path.is_file():
        raise ConfigError(f"There is no corpus {path} (looked for it from {Path.cwd()}).")
    return gzip.open(path, "rb") if is_packed(path) else path.open("rb")  # type: ignore[return-value]


def corpus_fingerprint(path: Path) -> str:
    """A short hash of a corpus file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_passages(path: Path, lines: IO[bytes] | None = None) -> Iterator[tuple[int, bytes, Passage | None]]:
    """Read a corpus from its first line to its last, one line in memory at a time.

    Args:
        path: The corpus.
        lines: Its lines, if they are open already.

    Yields:
        Where the line begins, in bytes (of the unpacked file), the line, and its passage. Lines without a passage
        (a header, blank lines, rows with neither text nor title) come with None.

    Raises:
        ConfigError: A line can't be read; the message has its number.
    """
    parse: Parse | None = None
    offset = 0
    with lines or open_corpus(path) as file:
        for number in range(1, 2**62):
            where = f"{path}, line {number}"
            try:
                line = file.readline(MAX_LINE_BYTES + 1)
            except (OSError, EOFError) as error:  # what gzip raises where a file is broken or cut
                raise ConfigError(f"{where}: the file can't be read on: {error}.") from error
            if not line:
                return
            if len(line) > MAX_LINE_BYTES:
                raise ConfigError(f"{where} is longer than {MAX_LINE_BYTES >> 20} MiB. {_RULE}")
            try:
                passage = None
                if parse is None:
                    parse, has_header = _parser(path, _decoded(line))
                    if not has_header:
                        passage = parse(_decoded(line))
                else:
                    passage = parse(_decoded(line))
            except _LineError as error:
                raise ConfigError(f"{where}: {error}") from None
            yield offset, line, passage
            offset += len(line)


class Passages:
    """The passages of an indexed corpus, by position; safe to use from several threads and forked processes.

    Args:
        path: The corpus, not packed.
        offsets: Where each passage's line begins, in bytes.
        name: The corpus' name; its ending says how lines are read.
    """

    def __init__(self, path: Path, offsets: NDArray[np.int64], name: str) -> None:
        self._offsets = offsets
        self._path = path
        self._file = path.open("rb")
        self._size = os.fstat(self._file.fileno()).st_size
        self._parse, _ = _parser(Path(name), _decoded(self._file.readline(MAX_LINE_BYTES)))

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, position: int) -> Passage:
        """Read a passage; its id is its position where the corpus gives none.

        Raises:
            ConfigError: The corpus isn't what it was when it was indexed.
        """
        start = int(self._offsets[position])
        end = int(self._offsets[position + 1]) if position + 1 < len(self._offsets) else self._size
        line = self._read(start, min(end - start, MAX_LINE_BYTES)).split(b"\n", 1)[0]
        try:
            passage = self._parse(_decoded(line))
        except _LineError:
            passage = None
        if passage is None:
            raise ConfigError(
                f"{self._path} was changed since it was indexed: there is no passage at byte {start}. Start again, and "
                "it is indexed anew."
            )
        return passage if passage.id is not None else passage._replace(id=str(position))

    def _read(self, start: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, start)  # has no position that threads could share
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _format_of(path: Path) -> str:
    name = path.name.casefold().removesuffix(".gz")
    ending = os.path.splitext(name)[1]
    if ending not in (".jsonl", ".ndjson", ".tsv"):
        raise ConfigError(
            f"Can't tell from its name how to read the corpus {path}: known endings are .jsonl, .ndjson and .tsv, also "
            f"with .gz behind. {_RULE}"
        )
    return ending


def _parser(path: Path, first: str) -> tuple[Parse, bool]:
    """What reads a line, and whether the first one is a header."""
    if _format_of(path) != ".tsv":
        return _parse_json, False
    [header] = list(csv.reader([first.strip()], delimiter="\t")) or [[]]
    columns = [name.strip().casefold() for name in header]
    if not any(name in columns for name in _TEXT_NAMES):
        raise _LineError(
            f"the first line of a .tsv corpus names its columns, one of them 'text'; it is {first.strip()!r:.200}."
        )

    def parse(line: str) -> Passage | None:
        if not line.strip():
            return None
        try:
            [cells] = csv.reader([line.rstrip("\r\n")], delimiter="\t", strict=True)
        except (csv.Error, ValueError) as error:
            raise _LineError(f"this isn't tsv: {error}. Each line is one passage.") from None
        if len(cells) != len(columns):
            raise _LineError(f"there are {len(cells)} cells for the {len(columns)} columns {columns}.")
        return _passage({name: cell or None for name, cell in zip(columns, cells, strict=True)})

    return parse, True


def _parse_json(line: str) -> Passage | None:
    if not line.strip():
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _LineError(f"this isn't JSON: {error}. {_RULE}") from None
    if not isinstance(row, dict):
        raise _LineError(f"this is {row!r:.80}. {_RULE}")
    return _passage(row)


def _passage(row: dict[str, Any]) -> Passage | None:
    given = next((name for name in _TEXT_NAMES if row.get(name) is not None), None)
    title = row.get("title")
    if given is None and not any(name in row for name in _TEXT_NAMES):
        raise _LineError(f"there is no 'text' or 'contents' among its columns {list(row)!r:.200}. {_RULE}")
    text = "" if given is None else row[given]
    if not isinstance(text, str) or not (title is None or isinstance(title, str)):
        raise _LineError(f"text and title are texts; got {text!r:.80} and {title!r:.80}.")
    if given == "contents" and title is None and "\n" in text:
        # ZeroSearch's and Search-R1's corpora: the title in quotes on the first line, then the text.
        head, _, rest = text.partition("\n")
        if head.strip() and rest.strip():
            title, text = head.strip().strip('"'), rest
    text, title = _clean(text), _clean(title or "")
    if not text and not title:
        return None
    key = next((row[name] for name in _ID_NAMES if row.get(name) is not None), None)
    if isinstance(key, (dict, list, bool)):
        raise _LineError(f"an id is a text or a number; got {key!r:.80}.")
    return Passage(None if key is None else _clean(str(key)), title or None, text)


def _clean(text: str) -> str:
    text = text.strip()
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, written as an escape
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _LineError(
            f"byte {error.start + 1} ({line[error.start : error.start + 1]!r}) isn't UTF-8. Save the file as UTF-8."
        ) from None
