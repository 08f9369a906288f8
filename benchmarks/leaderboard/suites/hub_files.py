"""One file of a hub data set at a commit, so that its bytes can be held against a pinned hash."""

from __future__ import annotations

from pathlib import Path

from benchmarks.leaderboard.errors import SuiteError
from zs_env.errors import require
from zs_env.questions.hub import TIMEOUT_S, HubPlace
from zs_env.questions.hub_errors import clear_errors
from zs_env.questions.hub_patience import INSTALL, NEEDED_FOR, patience

__all__ = ["hub_file"]


def hub_file(place: HubPlace, file: str, commit: str, *, offline: bool = False) -> Path:
    """The file on this machine: from the hub's cache, or downloaded into it.

    Args:
        place: The data set.
        file: The file's path inside it.
        commit: The commit.
        offline: Whether only the cache is looked at.

    Raises:
        SuiteError: There is no such file; offline: it isn't in the cache.
        ConfigError: The hub can't be read.
    """
    hub = require("huggingface_hub", needed_for=NEEDED_FOR, install=INSTALL)
    errors = require("huggingface_hub.errors", needed_for=NEEDED_FOR, install=INSTALL)
    try:
        with clear_errors(place, None), patience(place, TIMEOUT_S):
            return Path(
                hub.hf_hub_download(
                    place.identifier,
                    file,
                    repo_type="dataset",
                    revision=commit,
                    local_files_only=offline,
                    etag_timeout=TIMEOUT_S,
                )
            )
    except Exception as error:
        chain = (error, error.__cause__, error.__context__)
        if offline and any(isinstance(each, errors.LocalEntryNotFoundError) for each in chain):
            raise SuiteError(
                f"{file} of {place} at {commit[:12]} isn't in the hub's cache on this machine. Load it once with the "
                "hub in reach, or give a file that holds the same questions."
            ) from error
        if any(isinstance(each, errors.EntryNotFoundError) for each in chain):
            raise SuiteError(f"{place} has no file {file!r} at {commit[:12]}. Mend the suite's file = ….") from error
        raise
