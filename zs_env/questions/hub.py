"""Data sets of the Hugging Face hub, and folders shaped like one: found, pinned to a commit, and read row by row."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from zs_env.errors import ConfigError, require
from zs_env.files import hash_file
from zs_env.questions.hub_errors import HubUnreachableError, clear_errors
from zs_env.questions.hub_patience import INSTALL, NEEDED_FOR, patience

__all__ = ["PREFIX", "HubData", "HubPlace", "find_commit", "open_hub", "token_from"]

PREFIX = "hf:"
TIMEOUT_S = 30.0
"""How long the hub may stay silent."""


@dataclass(frozen=True, kw_only=True)
class HubPlace:
    """Which data set, as `hf:<id>`, `hf:<id>:<config>`, either with `@<revision>` behind.

    Attributes:
        identifier: The data set's id, or a folder that is shaped like one.
        config: The configuration; None for the only or default one.
        revision: A branch, tag or commit; None for the newest.
    """

    identifier: str
    config: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubPlace:
        """Read `hf:<id>[:<config>][@<revision>]`.

        Examples:
            >>> HubPlace.parse("hf:RUC-NLPIR/FlashRAG_datasets:nq@main")
            HubPlace(identifier='RUC-NLPIR/FlashRAG_datasets', config='nq', revision='main')

        Raises:
            ConfigError: There is no id.
        """
        rest = text.removeprefix(PREFIX)
        if Path(rest).expanduser().is_dir():
            return cls(identifier=str(Path(rest).expanduser()))
        rest, _, revision = rest.partition("@")
        identifier, _, config = rest.partition(":")
        if not identifier.strip():
            raise ConfigError(
                f"{text!r} names no data set. Write hf:<id>, for example hf:sunhaonlp/ZeroSearch_dataset, or "
                "hf:<id>:<config>@<revision>."
            )
        folder = Path(identifier).expanduser()
        return cls(
            identifier=str(folder) if folder.is_dir() else identifier.strip(),
            config=config.strip() or None,
            revision=revision.strip() or None,
        )

    @property
    def folder(self) -> Path | None:
        """The folder on this machine that it is; None if it is on the hub."""
        path = Path(self.identifier)
        return path if path.is_dir() else None

    def __str__(self) -> str:
        name = Path(self.identifier).name if os.path.isabs(self.identifier) else self.identifier
        config = f":{self.config}" if self.config else ""
        return f"{PREFIX}{name}{config}{f'@{self.revision}' if self.revision else ''}"


@dataclass(frozen=True, kw_only=True)
class HubData:
    """A data set that was found.

    Attributes:
        place: Which one.
        commit: The commit that it is read at, or `folder-<hash>` of a folder's files; None where it comes from the
            cache of a machine that can't reach the hub.
        licence: Its licence's identifier, if its card says one.
        splits: The names of its splits.
        builder: What reads it.
    """

    place: HubPlace
    commit: str | None
    licence: str | None
    splits: tuple[str, ...]
    builder: Any

    def check_split(self, split: str) -> None:
        """Refuse a split that isn't there.

        Raises:
            ConfigError: There is no such split; the message says which there are.
        """
        if split not in self.splits:
            raise ConfigError(
                f"{self.place} has no split {split!r}; it has {', '.join(map(repr, self.splits)) or 'none'}. Name one."
            )

    def rows(
        self, split: str, *, streaming: bool = False, token: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> Iterator[dict[str, Any]]:
        """The rows of a split, in order.

        Args:
            split: Which split.
            streaming: Whether rows are read as they come, without a copy of the data set on this machine.
            token: A token that may read it.
            timeout_s: How long the hub may stay silent.

        Raises:
            ConfigError: There is no such split, or the hub can't be read; the message says why and what to do.
        """
        self.check_split(split)
        with clear_errors(self.place, token), patience(self.place, timeout_s):
            if streaming:
                rows = self.builder.as_streaming_dataset(split=split)
            else:
                self.builder.download_and_prepare()
                rows = self.builder.as_dataset(split=split)
            yield from rows


def token_from(variable: str | None) -> str | None:
    """A token from an environment variable; None leaves it to huggingface_hub (`HF_TOKEN`, or who is logged in).

    Raises:
        ConfigError: The variable is named but isn't set.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise ConfigError(
            f"The environment variable {variable} that is to hold the hub's token isn't set. Set it, or leave "
            "--token-env out for a data set that is public."
        )
    return token


def find_commit(place: HubPlace, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
    """The commit that a revision is now, or `folder-<hash>` for a folder.

    Raises:
        ConfigError: There is no such data set or revision, or the hub can't be asked.
    """
    return _look_up(place, token, timeout_s)[0]


def open_hub(
    place: HubPlace, *, token: str | None = None, timeout_s: float = TIMEOUT_S, cached: bool = False
) -> HubData:
    """Find a data set and pin it to the commit that its revision is now.

    Args:
        place: Which one.
        token: A token that may read it.
        timeout_s: How long the hub may stay silent.
        cached: Whether a copy in the cache will do where the hub can't be reached and no revision was asked for.

    Raises:
        ConfigError: There is no such data set, configuration or revision, it is gated, or the hub can't be reached.
        MissingPackageError: `datasets` isn't installed.
    """
    datasets = require("datasets", needed_for=NEEDED_FOR, install=INSTALL)
    try:
        commit, licence = _look_up(place, token, timeout_s)
    except HubUnreachableError:
        builder = _cached(datasets, place) if cached and place.revision is None else None
        if builder is None:
            raise
        return HubData(place=place, commit=None, licence=None, splits=_splits(builder), builder=builder)
    with clear_errors(place, token), patience(place, timeout_s):
        builder = _builder(datasets, place, commit, token)
        if commit is not None and place.folder is None and builder.hash != commit:
            raise ConfigError(
                f"{place} couldn't be read at its commit {commit[:12]}: the hub failed in between, and an older copy "
                "in the cache was offered instead. Try again."
            )
    return HubData(place=place, commit=commit, licence=licence, splits=_splits(builder), builder=builder)


def _splits(builder: Any) -> tuple[str, ...]:
    return tuple(map(str, getattr(builder.config, "data_files", None) or builder.info.splits or ()))


def _cached(datasets: ModuleType, place: HubPlace) -> Any:
    """What reads a copy in the cache, without asking the hub again; None if there is no copy."""
    hub: Any = require("huggingface_hub.constants", needed_for=NEEDED_FOR, install=INSTALL)
    before = hub.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset_builder(place.identifier, place.config)
    except (ValueError, OSError):  # no such configuration in the cache, or nothing of it
        return None
    finally:
        hub.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _builder(datasets: ModuleType, place: HubPlace, commit: str | None, token: str | None) -> Any:
    pinned = commit if place.folder is None else None
    try:
        return datasets.load_dataset_builder(place.identifier, place.config, revision=pinned, token=token)
    except ValueError as error:
        names = datasets.get_dataset_config_names(place.identifier, revision=pinned, token=token)
        if place.config in names or (place.config is None and len(names) < 2):
            raise
        shown = ", ".join(map(repr, names[:40])) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
        missing = f"has no configuration {place.config!r}" if place.config else "needs a configuration"
        raise ConfigError(
            f"{place} {missing}; it has {shown}. Write hf:<id>:<config>, for example "
            f"{PREFIX}{place.identifier}:{names[0] if names else 'default'}."
        ) from error


def _look_up(place: HubPlace, token: str | None, timeout_s: float) -> tuple[str, str | None]:
    """The commit of a revision, and the licence that its card says."""
    if place.folder is not None:
        if place.revision is not None:
            raise ConfigError(
                f"{place} is a folder on this machine: it has no revisions. Leave {place.revision!r} out."
            )
        return _folder_commit(place.folder), _folder_licence(place.folder)
    hub = require("huggingface_hub", needed_for=NEEDED_FOR, install=INSTALL)
    with clear_errors(place, token), patience(place, timeout_s):
        told = hub.HfApi(token=token).dataset_info(place.identifier, revision=place.revision, timeout=timeout_s)
    licence = (getattr(told, "card_data", None) or {}).get("license")
    return str(told.sha), licence if isinstance(licence, str) else None


def _folder_commit(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}:{hash_file(path)};".encode())
    return f"folder-{digest.hexdigest()[:16]}"


def _folder_licence(folder: Path) -> str | None:
    card = folder / "README.md"
    if not card.is_file():
        return None
    hub = require("huggingface_hub", needed_for=NEEDED_FOR, install=INSTALL)
    licence = hub.DatasetCard.load(card).data.get("license")
    return licence if isinstance(licence, str) else None
