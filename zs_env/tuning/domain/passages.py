"""The first step of a domain: from a folder of files to passages that can be searched."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zs_env.engines.retrieval.corpus import corpus_fingerprint
from zs_env.errors import ConfigError
from zs_env.likeness import near_repeats, words_of
from zs_env.tuning.domain.chunking import ChunkSettings, chunks_of, looks_english, noise_of
from zs_env.tuning.domain.corpus import CORPUS, Passage, write_corpus
from zs_env.tuning.domain.files import find_files, load_file, read_bytes
from zs_env.tuning.domain.reports import done_before, set_aside, write_report
from zs_env.tuning.domain.sections import Section, Text, UnreadableError, title_of_name
from zs_env.tuning.keeping import KeptFile

__all__ = ["REPORT", "SCHEMA", "PassageSettings", "make_passages"]

REPORT = "passages.json"
READ = "read.jsonl"
SCHEMA = "zerosearch.domain_passages/1"
READ_SCHEMA = "zerosearch.domain_read/1"
MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageSettings:
    """How passages are made.

    Attributes:
        chunks: How long they are.
        with_code: Whether code blocks are kept.
        english_only: Whether passages that don't look English are dropped; they are counted in any case.
        encoding: Of text, markdown and reStructuredText.
        max_mib: Larger files aren't read.
        exclude: Patterns of paths that aren't read.
    """

    chunks: ChunkSettings = field(default_factory=ChunkSettings)
    with_code: bool = False
    english_only: bool = False
    encoding: str = "utf-8"
    max_mib: float = 50.0
    exclude: tuple[str, ...] = ()

    @property
    def max_bytes(self) -> int:
        """The size of the largest file that is read."""
        return int(self.max_mib * 2**20)


def make_passages(source: Path, folder: Path, settings: PassageSettings, *, again: bool = False) -> dict[str, Any]:
    """Make `corpus.jsonl` and its report `passages.json` from a folder of files.

    Args:
        source: The folder of files.
        folder: Where they go.
        settings: How.
        again: Make them again, also if files or settings changed.

    Returns:
        The report; `is_new` in it says whether anything was done.

    Raises:
        ConfigError: There is no such folder, no file in it gives a passage, or the passages there are of other files or
            settings.
        MissingPackageError: A kind of file needs a package that isn't installed.
    """
    files = _met(source, folder, settings)
    told = {**asdict(settings), "files": _fingerprint(files)}
    before = done_before(folder / REPORT, SCHEMA, told, again=again)
    if before is not None and (folder / CORPUS).is_file():
        return {**before, "is_new": False}
    texts = _read(source, folder, settings, files, again=again)
    boilerplate = _boilerplate(texts)
    passages, dropped, examples = _passages(texts, files, settings, boilerplate)
    if not passages:
        shown = "; ".join(f"{name}: {told['why']}" for name, told in list(files.items())[:5])
        raise ConfigError(f"No file of {source} gives a passage ({len(files)} met: {shown or 'it is empty'}).")
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(folder / CORPUS, passages)
    report = {
        "num_passages": len(passages),
        "num_words": sum(len(passage.text.split()) for passage in passages),
        "num_files": {
            "read": sum(told["why"] is None for told in files.values()),
            "skipped": sum(told["why"] is not None for told in files.values()),
        },
        "num_dropped": dict(dropped.most_common()),
        "dropped_examples": dict(examples),
        "num_boilerplate_blocks": len(boilerplate),
        "num_not_english": sum(not looks_english(passage.text) for passage in passages),
        "num_code_blocks_left_out": 0 if settings.with_code else sum(text.num_code_blocks for text in texts.values()),
        "corpus": corpus_fingerprint(folder / CORPUS),
        "files": files,
    }
    return {**write_report(folder / REPORT, SCHEMA, told, report), "is_new": True}


def _met(source: Path, folder: Path, settings: PassageSettings) -> dict[str, dict[str, Any]]:
    """Every file that was met: a hash of its bytes, or why it can't be read."""
    files: dict[str, dict[str, Any]] = {}
    for found in find_files(source, exclude=settings.exclude, leave_out=folder):
        files[found.name] = {"why": found.why}
        if found.why is None:
            try:
                data = load_file(source / found.name, max_bytes=settings.max_bytes)
                files[found.name]["fingerprint"] = hashlib.blake2b(data, digest_size=12).hexdigest()
            except UnreadableError as error:
                files[found.name]["why"] = str(error)
    return files


def _read(
    source: Path, folder: Path, settings: PassageSettings, files: dict[str, dict[str, Any]], *, again: bool
) -> dict[str, Text]:
    """Read every file that was loaded, and keep what it says: a run that was stopped doesn't read it again.

    What can't be read is noted in `files`.
    """
    header = {"schema": READ_SCHEMA, "encoding": settings.encoding, "with_code": settings.with_code}
    if again:
        set_aside(folder / READ, header)
    kept = KeptFile(folder / READ, header)
    texts: dict[str, Text] = {}
    try:
        rows = {(row.get("name"), row.get("fingerprint")): row for row in kept.rows}
        for name, about in files.items():
            if about["why"] is not None:
                continue
            row = rows.get((name, about["fingerprint"]))
            if row is None:
                row = {"name": name, "fingerprint": about["fingerprint"], **_said(source / name, settings)}
                kept.write([row])
            if row["text"] is None:
                about["why"] = row["why"]
            else:
                texts[name] = Text.from_json(row["text"])
                about["passages"] = 0
    finally:
        kept.close()
    return texts


def _said(path: Path, settings: PassageSettings) -> dict[str, Any]:
    try:
        data = load_file(path, max_bytes=settings.max_bytes)
        text = read_bytes(path.name, data, encoding=settings.encoding, with_code=settings.with_code)
    except UnreadableError as error:
        return {"text": None, "why": str(error)}
    return {"text": text.to_json(), "why": None}


def _fingerprint(files: dict[str, dict[str, Any]]) -> str:
    """A hash of the files that can be loaded: their names and bytes."""
    told = [[name, about["fingerprint"]] for name, about in sorted(files.items()) if "fingerprint" in about]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=12).hexdigest()


def _boilerplate(texts: dict[str, Text]) -> frozenset[tuple[str, ...]]:
    """Blocks that stand in many files, as navigation and licences do."""
    holders: Counter[tuple[str, ...]] = Counter()
    for text in texts.values():
        holders.update({words_of(block) for section in text.sections for block in section.blocks})
    return frozenset(block for block, count in holders.items() if block and count >= max(3, 0.2 * len(texts)))


def _passages(
    texts: dict[str, Text],
    files: dict[str, dict[str, Any]],
    settings: PassageSettings,
    boilerplate: frozenset[tuple[str, ...]],
) -> tuple[list[Passage], Counter[str], dict[str, list[str]]]:
    """The passages that are kept, and what was dropped, with examples; counts go into `files`."""
    dropped: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)

    def drop(why: str, name: str, text: str) -> None:
        dropped[why] += 1
        if len(examples[why]) < MAX_EXAMPLES:
            examples[why].append(f"{name}: {' '.join(text.split())[:120]}")

    made: list[Passage] = []
    for name, text in texts.items():
        sections = [
            Section(section.heading, tuple(block for block in section.blocks if words_of(block) not in boilerplate))
            for section in text.sections
        ]
        title = text.title or title_of_name(name)
        for number, (heading, chunk) in enumerate(chunks_of(sections, settings.chunks), start=1):
            why = noise_of(chunk, settings.chunks.min_words)
            if why is None and settings.english_only and not looks_english(chunk):
                why = "not English"
            if why is not None:
                drop(why, name, chunk)
                continue
            whole = f"{title} – {heading}" if heading else title
            made.append(Passage(id=f"{name}#{number}", title=whole, text=chunk, source=name))
    kept: list[Passage] = []
    for passage, earlier in zip(made, _repeated([one.text for one in made]), strict=True):
        if earlier:
            drop("nearly the same as an earlier one", passage.source, passage.text)
        else:
            kept.append(passage)
            files[passage.source]["passages"] += 1
    return kept, dropped, dict(examples)


def _repeated(texts: Sequence[str]) -> list[tuple[int, ...]]:
    return near_repeats(texts)
