"""Where an index lies on disk, and when it is built: once, whole or not at all, and again when its corpus has changed.

An index is a folder. It is built under another name and renamed when it is complete, by one process at a time. Its
`manifest.json` is written last, and says what it was built from; what doesn't fit is built anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zs_env.engines.retrieval.corpus import Passages, corpus_fingerprint, is_packed, open_corpus, read_passages
from zs_env.engines.retrieval.progress import Progress, Say
from zs_env.errors import ConfigError

__all__ = ["Build", "Manifest", "ensure_index", "index_folder", "open_passages", "scan_corpus", "state_of"]

FORMAT = 1
MANIFEST = "manifest.json"
_OFFSETS = "offsets.i64"
_UNPACKED = "passages"
_FRESH_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index was built from.

    Attributes:
        format: The version of this layout.
        kind: The search mode: `"bm25"` or `"dense"`.
        settings: What the index depends on, beside its corpus.
        corpus: The corpus' file name.
        fingerprint: The corpus' fingerprint.
        corpus_bytes: The corpus' size.
        corpus_mtime_ns: When the corpus was last written, if that was long enough before it was read that any later
            change shows; else None, and the corpus is read to see whether it has changed.
        num_passages: How many passages are in it.
        num_skipped: How many rows had neither text nor title.
        files: The size in bytes of each of its files.
        seconds: How long building it took.
        versions: The libraries that built it.
    """

    format: int
    kind: str
    settings: Mapping[str, Any]
    corpus: str
    fingerprint: str
    corpus_bytes: int
    corpus_mtime_ns: int | None
    num_passages: int
    num_skipped: int
    files: Mapping[str, int]
    seconds: float
    versions: Mapping[str, str]


Build = Callable[[Path, Passages, Say], Mapping[str, str]]
"""Builds an index of these passages in this folder; gives the versions of the libraries that it used."""


def index_folder(corpus: Path, kind: str, settings: Mapping[str, Any], index: str | Path | None = None) -> Path:
    """Where the index of a corpus lies: one folder for each kind and settings.

    They are in `index` if it is given; or else in `$ZS_CACHE/indexes`; or else in `<corpus>.index` beside the corpus;
    or else, where that can't be written, in the user's cache folder.
    """
    told = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    corpus = corpus.absolute()
    apart = f"{corpus.name}-{hashlib.sha256(str(corpus).encode()).hexdigest()[:8]}"
    beside = corpus.with_name(f"{corpus.name}.index")
    if index is not None:
        parent = Path(index)
    elif os.environ.get("ZS_CACHE"):
        parent = Path(os.environ["ZS_CACHE"]) / "indexes" / apart
    elif os.access(beside if beside.exists() else corpus.parent, os.W_OK) or (beside / f"{kind}-{told}").exists():
        parent = beside
    else:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zs_env" / "indexes" / apart
    return parent / f"{kind}-{told}"


def ensure_index(
    folder: Path,
    corpus: Path,
    kind: str,
    settings: Mapping[str, Any],
    build: Build,
    say: Say,
    *,
    rebuild: bool = False,
) -> Manifest:
    """Give an index' manifest, after building the index if there is none that fits.

    Raises:
        ConfigError: The corpus can't be read, or the folder can't be written.
    """
    with open_corpus(corpus):  # it is there, and its format is known
        pass
    state: Manifest | str = "it is to be built anew" if rebuild else state_of(folder, corpus, kind, settings)
    if isinstance(state, Manifest):
        return state
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(folder.with_name(f"{folder.name}.lock"), say):
            if not rebuild:
                state = state_of(folder, corpus, kind, settings)  # another process may just have built it
            if isinstance(state, str):
                say(f"{corpus.name}: {state}. Building the {kind} index in {folder}")
                state = _build(folder, corpus, kind, settings, build, say)
                say(f"{corpus.name}: {state.num_passages:,} passages indexed in {state.seconds:,.1f} s")
            return state
    except OSError as error:
        raise ConfigError(
            f"The index of {corpus} can't be written to {folder}: {error}. Name a folder for it as index=, or as the "
            "environment variable ZS_CACHE."
        ) from error


def state_of(folder: Path, corpus: Path, kind: str, settings: Mapping[str, Any]) -> Manifest | str:
    """An index' manifest if it fits, or else why it doesn't."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        sizes = {name: (folder / name).stat().st_size for name in manifest.files}
    except FileNotFoundError:
        return "its index is incomplete" if folder.exists() else "it has no index yet"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"its index is broken ({error})"
    if manifest.format != FORMAT or manifest.kind != kind or dict(manifest.settings) != dict(settings):
        return "its index is of another version"
    if sizes != dict(manifest.files):
        return "its index is broken (a file hasn't the size that it had)"
    status = corpus.stat()
    if status.st_size != manifest.corpus_bytes:
        return "it has changed since it was indexed"
    if status.st_mtime_ns == manifest.corpus_mtime_ns:
        return manifest
    fingerprint, mtime_ns = _fingerprint(corpus)
    if fingerprint != manifest.fingerprint:
        return "it has changed since it was indexed"
    manifest = replace(manifest, corpus_mtime_ns=mtime_ns)
    with contextlib.suppress(OSError):  # it only saves reading the corpus next time
        _write(folder / MANIFEST, manifest)
    return manifest


def open_passages(folder: Path, corpus: Path) -> Passages:
    """The passages of an indexed corpus."""
    offsets: NDArray[np.int64] = np.memmap(folder / _OFFSETS, dtype=np.int64, mode="r")
    return Passages(folder / _UNPACKED if is_packed(corpus) else corpus, offsets, corpus.name)


def scan_corpus(folder: Path, corpus: Path, say: Say) -> tuple[int, int]:
    """Read a whole corpus once: find its mistakes, write where its passages are, and unpack it if it is packed.

    Returns:
        How many passages there are, and how many rows had neither text nor title.
    """
    progress = Progress(f"reading {corpus.name}", None, say)
    num_skipped = 0
    with contextlib.ExitStack() as stack:
        offsets = stack.enter_context((folder / _OFFSETS).open("wb"))
        unpacked = stack.enter_context((folder / _UNPACKED).open("wb")) if is_packed(corpus) else None
        for number, (offset, line, passage) in enumerate(read_passages(corpus)):
            if unpacked is not None:
                unpacked.write(line)
            if passage is not None:
                offsets.write(np.int64(offset).tobytes())
                progress.add()
            elif line.strip() and not (number == 0 and ".tsv" in corpus.name.casefold()):
                num_skipped += 1
    if not progress.done:
        raise ConfigError(f"{corpus} holds no passages. Give a corpus with at least one.")
    return progress.done, num_skipped


def _build(folder: Path, corpus: Path, kind: str, settings: Mapping[str, Any], build: Build, say: Say) -> Manifest:
    began = time.monotonic()
    for left in folder.parent.glob(f"{folder.name}.building-*"):  # of a build that was killed: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    new = folder.with_name(f"{folder.name}.building-{os.getpid()}")
    new.mkdir()
    try:
        fingerprint, mtime_ns = _fingerprint(corpus)
        before = corpus.stat()
        num_passages, num_skipped = scan_corpus(new, corpus, say)
        if num_skipped:
            say(f"{corpus.name}: {num_skipped:,} rows with neither text nor title are left out")
        versions = build(new, open_passages(new, corpus), say)
        if (before.st_size, before.st_mtime_ns) != (corpus.stat().st_size, corpus.stat().st_mtime_ns):
            raise ConfigError(f"{corpus} was changed while it was being indexed. Start again when it is complete.")
        manifest = Manifest(
            format=FORMAT,
            kind=kind,
            settings=settings,
            corpus=corpus.name,
            fingerprint=fingerprint,
            corpus_bytes=before.st_size,
            corpus_mtime_ns=mtime_ns,
            num_passages=num_passages,
            num_skipped=num_skipped,
            files={file.name: file.stat().st_size for file in sorted(new.iterdir())},
            seconds=round(time.monotonic() - began, 3),
            versions=dict(versions),
        )
        _write(new / MANIFEST, manifest)
        if folder.exists():
            old = folder.with_name(f"{folder.name}.building-old")
            folder.rename(old)  # processes that have it open keep what they have
            new.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            new.rename(folder)
        return manifest
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _fingerprint(corpus: Path) -> tuple[str, int | None]:
    """A corpus' fingerprint, and its time of writing if a later change is sure to show in it."""
    now, before = time.time(), corpus.stat()
    fingerprint = corpus_fingerprint(corpus)
    return fingerprint, before.st_mtime_ns if before.st_mtime < now - _FRESH_S else None


def _write(path: Path, manifest: Manifest) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
    new.replace(path)


@contextlib.contextmanager
def _only_one(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such locks here: who is last wins, with a complete index
        yield
        return
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Another process is building {path.with_suffix('').name}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
