"""Files and folders that are there whole or not at all, also after a full disk, a kill or a power cut."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "cut_file",
    "exchange",
    "hash_file",
    "point_to",
    "remove",
    "sync_file",
    "sync_folder",
    "sync_tree",
    "whole_file",
    "write_folder",
    "write_json",
    "write_text",
]

_AT_FDCWD = -100
_SWAP = 2


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk, where the system can tell."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems can't
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and everything in it is on the disk; others may read it from then on."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o755 if path.is_dir() else 0o644)
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary file to write, which takes the place of `path` once it is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder by `write(temporary folder)`, then put it in its place at once.

    Where the system can exchange two folders (Linux, macOS), there is never a moment without one. Elsewhere there is,
    between two renames; what a kill leaves there is put back by the next call.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(folder):
        _put_back(folder)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    old = temporary.with_name(temporary.name + "-old")
    try:
        write(temporary)
        sync_tree(temporary)
        if not os.path.lexists(folder):
            os.rename(temporary, folder)
        elif not exchange(temporary, folder):
            os.rename(folder, old)
            os.rename(temporary, folder)
        sync_folder(folder.parent)
    finally:
        if os.path.lexists(old) and not os.path.lexists(folder):
            os.rename(old, folder)
        remove(temporary)
        remove(old)


def remove(path: Path) -> None:
    """Delete a file, link or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _put_back(folder: Path) -> None:
    """Give a folder back that a kill left under its temporary name."""
    for old in sorted(folder.parent.glob(f".{folder.name}-*-old")):
        os.rename(old, folder)
        return


def exchange(first: Path, second: Path) -> bool:
    """Let two paths on one file system change places, in one step.

    Returns:
        Whether they did; False where the system or the file system can't, and nothing was changed.
    """
    library = ctypes.CDLL(None, use_errno=True) if sys.platform in ("linux", "darwin") else None
    a, b = os.fsencode(first), os.fsencode(second)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _SWAP)  # type: ignore[union-attr]
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(a, b, _SWAP)
    else:
        return False
    return not failed


def point_to(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target`, in one step; a copy where there are no such links."""
    temporary = link.with_name(f".{link.name}-link")
    temporary.unlink(missing_ok=True)
    try:
        os.symlink(os.path.relpath(target, link.parent), temporary, target_is_directory=True)
    except (NotImplementedError, PermissionError):
        write_folder(link, lambda folder: _copy(target, folder))
        return
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)  # a copy, of a system without links
    os.replace(temporary, link)
    sync_folder(link.parent)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def cut_file(path: Path, num_bytes: int) -> bool:
    """Cut a file back to its first bytes.

    Returns:
        Whether it had that many. A file that isn't there has none.
    """
    size = path.stat().st_size if path.exists() else 0
    if size > num_bytes:
        os.truncate(path, num_bytes)
    return size >= num_bytes
