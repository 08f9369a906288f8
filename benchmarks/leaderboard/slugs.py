"""What a record's folder is called: readable, the same for the same row, and another for whatever isn't."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

__all__ = ["IDENTITY_SETTINGS", "USUAL_SETTINGS", "identity_of", "setting_of", "slug_of"]

IDENTITY_SETTINGS = (
    "seed",
    "noise_probability",
    "topk",
    "max_turns",
    "max_new_tokens",
    "max_episode_tokens",
    "temperature",
)
"""The settings that what is played depends on. Concurrency, prices and a judge change no episode's outcome."""

USUAL_SETTINGS: Mapping[str, Any] = {"prompt": "default", "max_information_chars": 20_000}
"""Settings that what is played depends on as well, as they are where a record doesn't say."""

_MAX_PART = 50  # four of them and the rest are a file name, which may have 255 bytes


def setting_of(content: Mapping[str, Any], name: str) -> Any:
    """A setting of a record: what it says, else what is usual."""
    return content["settings"].get(name, USUAL_SETTINGS.get(name))


def slug_of(content: Mapping[str, Any]) -> str:
    """The name of a record's folder: `<suite>--<policy>--<train engine>--<eval engine>--<hash>`.

    It needs what is known before a run begins: `row`, `suite`, `sets` (names, limits and fingerprints), `settings`,
    `agent`, `engine` and `fingerprints`.

    Args:
        content: The record, or so much of it.
    """
    row = content["row"]
    parts = (content["suite"]["name"], row["policy"], row["train_engine"], row["eval_engine"])
    told = json.dumps(identity_of(content), sort_keys=True)
    return "--".join((*map(_plain, parts), hashlib.sha256(told.encode()).hexdigest()[:8]))


def identity_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a row from others, in plain JSON types."""
    settings, engine = content["settings"], content["engine"]
    unusual = {name: value for name, usual in USUAL_SETTINGS.items() if (value := setting_of(content, name)) != usual}
    return {
        "row": content["row"],
        "suite": content["suite"],
        "sets": [[each["name"], each["limit"], each["fingerprint"]] for each in content["sets"]],
        "settings": {name: settings.get(name) for name in IDENTITY_SETTINGS} | unusual,
        "agent": content["agent"].get("fingerprint"),
        "engine": [engine["search_mode"], engine.get("options"), engine.get("fingerprint")],
        "fingerprints": content.get("fingerprints"),
    }


def _plain(text: str) -> str:
    """Small letters, digits, dots and single hyphens.

    Examples:
        >>> _plain("SmolLM2-135M-Instruct, rag")
        'smollm2-135m-instruct-rag'
    """
    ascii_only = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9.]+", "-", ascii_only)[:_MAX_PART].strip("-.") or "x"
