"""A folder of files: which are read, by what, and what became of each."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zs_env.errors import ConfigError, ZeroSearchError
from zs_env.tuning.domain.read_html import read_html
from zs_env.tuning.domain.read_markdown import read_markdown
from zs_env.tuning.domain.read_pdf import read_pdf
from zs_env.tuning.domain.read_text import read_text
from zs_env.tuning.domain.sections import Text, UnreadableError

__all__ = ["ENDINGS", "Found", "find_files", "load_file", "read_bytes"]

ENDINGS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".txt": "text",
    ".rst": "rst",
}
"""Endings of files, in any case, and how they are read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file or folder that was met.

    Attributes:
        name: Its path in the folder, with "/".
        why: Why it isn't read; None if it is to be.
    """

    name: str
    why: str | None = None


def find_files(folder: Path, *, exclude: Sequence[str] = (), leave_out: Path | None = None) -> Iterator[Found]:
    """Go through a folder and the folders in it, in the order of names.

    Hidden files and folders and links aren't read: a link may lead anywhere, also back.

    Args:
        folder: The folder.
        exclude: Patterns of paths in the folder that aren't read, as "drafts/*" or "*.html".
        leave_out: A folder that isn't looked at, as where results go.

    Raises:
        ConfigError: There is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder (looked for it from {Path.cwd()}).")
    hidden_from = None if leave_out is None else leave_out.resolve()
    for at, folders, files in os.walk(folder, onerror=lambda error: None):
        here = Path(at)
        for name in sorted(folders):
            path = here / name
            why = _unfollowed(path, folder, exclude)
            if path.resolve() == hidden_from:
                why = "it is where results go"
            if why is None and not os.access(path, os.R_OK | os.X_OK):
                why = "it may not be read"
            if why is not None:
                yield Found(path.relative_to(folder).as_posix() + "/", why)
                folders.remove(name)
        folders.sort()
        for name in sorted(files):
            path = here / name
            why = _unfollowed(path, folder, exclude)
            if why is None and path.suffix.casefold() not in ENDINGS:
                why = f"its ending {path.suffix.casefold()!r} isn't known" if path.suffix else "its name has no ending"
            yield Found(path.relative_to(folder).as_posix(), why)


def _unfollowed(path: Path, folder: Path, exclude: Sequence[str]) -> str | None:
    if path.name.startswith("."):
        return "it is hidden"
    if path.is_symlink():
        return "it is a link"
    name = path.relative_to(folder).as_posix()
    return "it is excluded" if any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude) else None


def load_file(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a file.

    Raises:
        UnreadableError: It can't be read, is empty, or has more than `max_bytes`.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableError("it is no regular file")
        if about.st_size > max_bytes:
            raise UnreadableError(
                f"it is larger than {max_bytes / 2**20:,.0f} MiB ({about.st_size / 2**20:,.1f}); see --max-mib"
            )
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"it can't be read: {error.strerror or error}") from error
    if not data.strip():
        raise UnreadableError("it is empty")
    return data


def read_bytes(name: str, data: bytes, *, encoding: str = "utf-8", with_code: bool = False) -> Text:
    """Read a file's bytes, by the ending of its name.

    Args:
        name: The file's name.
        data: Its bytes.
        encoding: Of text, markdown and reStructuredText; web pages and PDFs say their own.
        with_code: Whether code blocks are kept.

    Raises:
        UnreadableError: It gives no text; the message says why.
        ConfigError: There is no such encoding.
        MissingPackageError: Its kind needs a package that isn't installed.
    """
    kind = ENDINGS[Path(name).suffix.casefold()]
    try:
        text = _read(kind, data, encoding, with_code)
    except (UnreadableError, ZeroSearchError):
        raise
    except Exception as error:  # whatever a parser raises over a broken file is that file's affair alone
        raise UnreadableError(f"it is broken: {type(error).__name__}: {error!s:.120}") from error
    if not any(block.strip() for section in text.sections for block in section.blocks):
        raise UnreadableError("it holds no text")
    return text


def _read(kind: str, data: bytes, encoding: str, with_code: bool) -> Text:
    if kind == "pdf":
        return read_pdf(data)
    if kind == "html":
        return read_html(data, with_code=with_code)
    text = _decoded(data, encoding)
    if kind == "markdown":
        return read_markdown(text, with_code=with_code)
    return read_text(text, with_code=with_code, is_rst=kind == "rst")


def _decoded(data: bytes, encoding: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    try:
        text = data.decode("utf-8-sig" if encoding.casefold().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"it isn't {encoding} (byte {error.start + 1} is {data[error.start : error.start + 1]!r}); see --encoding"
        ) from error
    except LookupError as error:
        raise ConfigError(f"There is no encoding {encoding!r}; known are utf-8, latin-1, cp1252 and others.") from error
    if "\0" in text:
        raise UnreadableError("it is binary: it holds NUL bytes")
    return text
