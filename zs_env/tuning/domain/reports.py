"""What a step leaves about itself: a JSON file with its settings, by which a second run knows what is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.tuning.keeping import check_header

__all__ = ["done_before", "read_report", "set_aside", "write_report"]


def read_report(path: Path, schema: str) -> dict[str, Any] | None:
    """A step's report; None if it left none.

    Raises:
        ConfigError: The file can't be read, or is of another kind or version.
    """
    if not path.exists():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}. Delete it, and the step is done again.") from error
    if not isinstance(report, dict) or report.get("schema") != schema:
        found = report.get("schema") if isinstance(report, dict) else report
        raise ConfigError(f"{path} must be of {schema}; it says {found!r:.80}. Delete it, and the step is done again.")
    return report


def done_before(path: Path, schema: str, settings: Mapping[str, Any], *, again: bool) -> dict[str, Any] | None:
    """What a step reported that was done with the same settings; None if it is still to be done.

    Args:
        path: The report.
        schema: Its schema.
        settings: What the step is to be done with, fingerprints of its inputs among them.
        again: Whether to do it again in any case.

    Raises:
        ConfigError: It was done with other settings, and `again` isn't given.
    """
    report = None if again else read_report(path, schema)
    if report is None:
        return None
    before, now = report.get("settings", {}), json.loads(json.dumps(settings))
    differs = [
        f"{name} was {before.get(name)!r:.80} and is {now.get(name)!r:.80}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differs:
        raise ConfigError(
            f"{path} is of other settings: {'; '.join(differs)}. Give --again to do this step again, or another folder."
        )
    return report


def set_aside(path: Path, header: Mapping[str, Any]) -> None:
    """Give a kept file of another header another name, so that a new one can begin; it isn't deleted."""
    if not path.exists():
        return
    try:
        check_header(path, header)
    except ConfigError:
        path.replace(path.with_suffix(f".old{path.suffix}"))


def write_report(path: Path, schema: str, settings: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """Write a step's report, and give it back."""
    whole: dict[str, Any] = json.loads(json.dumps({"schema": schema, "settings": dict(settings), **report}))
    write_json(path, whole)
    return whole
