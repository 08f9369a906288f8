"""The folder that `tune build` wrote: examples to learn, examples held out, and what they were built with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.tuning.records import EXAMPLES, Example, read_header, read_records
from zs_env.tuning.training_folder import read_json

__all__ = ["ExamplesFolder"]


class ExamplesFolder:
    """Examples of a folder.

    Args:
        path: The folder, with `train.jsonl`, perhaps `held_out.jsonl`, and perhaps `build.json`.

    Attributes:
        name: Its name, without where it lies.
        fingerprints: Of each of its files of examples.
        build: What `build.json` says; its `settings` laid on top, so that either form of it is read.

    Raises:
        ConfigError: There is no such folder, or a file in it is none of examples.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser()
        if not (self._path / "train.jsonl").is_file():
            raise ConfigError(
                f"{str(path)!r} must be a folder with the file train.jsonl, as `python -m zs_env tune build` writes "
                f"it; {'it has none' if self._path.is_dir() else 'there is no such folder'}."
            )
        self.name = self._path.resolve().name
        self.fingerprints: dict[str, str] = {}
        for part in ("train", "held_out"):
            file = self._path / f"{part}.jsonl"
            if file.is_file():
                read_header(file, EXAMPLES)
                self.fingerprints[part] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        told = read_json(self._path / "build.json") or {}
        settings = told.get("settings")
        self.build: dict[str, Any] = {**told, **(settings if isinstance(settings, Mapping) else {})}

    @property
    def told_fingerprints(self) -> dict[str, Any]:
        """What `build.json` says that it was built from."""
        told = self.build.get("fingerprints")
        return {"build": told} if told else {}

    def train(self) -> Iterator[Example]:
        """Examples to learn."""
        yield from read_records(self._path / "train.jsonl", EXAMPLES)

    def held_out(self) -> Iterator[Example]:
        """Examples that are only looked at; none where there is no such file."""
        if "held_out" in self.fingerprints:
            yield from read_records(self._path / "held_out.jsonl", EXAMPLES)
