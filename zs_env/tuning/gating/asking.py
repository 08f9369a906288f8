"""Asking the simulators of a gate, and keeping what they say, so that a stopped run goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.measuring.cases import Case
from zs_env.measuring.running import Answered, run_cases
from zs_env.tuning.gating.simulators import Contender, weights_fingerprint

__all__ = ["ask", "identity", "keep_settings", "model_name"]


def identity(one: Contender) -> dict[str, Any]:
    """What a simulator's answers depend on, as far as that can be told."""
    weights = None if one.file is None else weights_fingerprint(one.file)
    return {"engine": getattr(one.make(), "fingerprint", None), "weights": weights}


def keep_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with searches that were made in another way.

    Raises:
        ConfigError: The folder holds a gate of other settings.
    """
    path = out / "settings.json"
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{str(path)!r} can't be read: {error}. Give another --out.") from error
        known = {*before, *settings} - {"simulators"}
        differs = [f"{name}: {before.get(name)!r} there, {settings.get(name)!r} here" for name in sorted(known)
                   if before.get(name) != settings.get(name)]  # fmt: skip
        for role, one in settings["simulators"].items():
            there = before.get("simulators", {}).get(role, one)
            if there != one:
                parts = " and ".join(name for name in one if there.get(name) != one[name])
                differs.append(f"the {role} is another ({parts})")
        if differs:
            raise ConfigError(
                f"{str(out)!r} holds a gate of other settings ({'; '.join(differs)}): give another --out."
            )
        settings = {**settings, "simulators": {**before.get("simulators", {}), **settings["simulators"]}}
    write_json(path, settings)


def ask(
    one: Contender, engine: Any, cases: Sequence[Case], *, out: Path, concurrency: int, retry_failed: bool
) -> list[Answered]:
    """Ask a simulator all searches, but those that `out` holds from before."""

    def say(line: str) -> None:
        sys.stderr.write(f"{one.role}: {line}\n")
        sys.stderr.flush()

    say(f"{len(cases)} searches of {one.title}")
    try:
        return run_cases(
            cases,
            engine,
            concurrency=concurrency,
            path=out / f"{one.role}.jsonl",
            retry_failed=retry_failed,
            say=say,
        )
    finally:
        close = getattr(engine, "close", None)
        if callable(close):
            close()


def model_name(answers: Sequence[Answered]) -> str | None:
    """What the answers say that they are of."""
    names = [(answered.result.metadata or {}).get("model") for answered in answers]
    found = next((name for name in names if isinstance(name, str)), None)
    return None if found is None else Path(found).name
