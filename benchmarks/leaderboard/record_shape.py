"""What `record.json` holds: names and types, checked before anything is made of it.

{"schema": "zerosearch.leaderboard/1", "version": of zs_env, "date": ISO day (UTC),
 "row": {"policy", "agent", "model", "train_engine", "eval_engine"},
 "engine": {"name", "search_mode", "kind", "options", "fingerprint"},
 "suite": {"name", "version"},
 "sets": [{"name", "source", "split", "revision", "size", "limit", "n", "source_fingerprint", "fingerprint",
           "metrics": of benchmarks.leaderboard.metrics.measure_set}],
 "macro": of benchmarks.leaderboard.metrics.macro,
 "settings": {"seed", "noise_probability", "topk", "max_turns", "max_new_tokens", "max_episode_tokens",
              "temperature" (null = greedy), "concurrency", "tokens", "judge", "prices", and where they aren't the
              usual ones "prompt" (a name, or the hash of one's own) and "max_information_chars"},
 "agent": {"name", "source", "fingerprint"}, "model": {…}, "fingerprints": {…},
 "machine": {…}, "packages": {name: version}, "git": {"commit", "dirty"} or null,
 "seconds", "state": "complete" or "partial", "why_partial": null or a text, "num_failed",
 "episodes": {"file", "n", "sha256"}}
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.leaderboard.slugs import IDENTITY_SETTINGS

__all__ = ["KINDS", "STATES", "check_shape"]

KINDS = ("closed-book", "simulated", "real", "mixed")
"""Kinds of engines, from no search at all to a real one."""

STATES = ("complete", "partial")

_NUMBER = (int, float)
_TEXT_OR_NONE = (str, type(None))
_WHOLE_OR_NONE = (int, type(None))
_MAPPING_OR_NONE = (dict, type(None))

_TOP: Mapping[str, Any] = {
    "schema": str,
    "version": str,
    "date": str,
    "row": dict,
    "engine": dict,
    "suite": dict,
    "sets": list,
    "macro": dict,
    "settings": dict,
    "agent": dict,
    "model": _MAPPING_OR_NONE,
    "fingerprints": _MAPPING_OR_NONE,
    "machine": dict,
    "packages": dict,
    "git": _MAPPING_OR_NONE,
    "seconds": _NUMBER,
    "state": str,
    "why_partial": _TEXT_OR_NONE,
    "num_failed": int,
    "episodes": dict,
}
_PARTS: Mapping[str, Mapping[str, Any]] = {
    "row": {
        "policy": str,
        "agent": str,
        "model": _TEXT_OR_NONE,
        "train_engine": str,
        "eval_engine": str,
    },
    "engine": {"name": str, "search_mode": _TEXT_OR_NONE, "kind": str, "options": _MAPPING_OR_NONE},
    "suite": {"name": str, "version": int},
    "settings": dict.fromkeys(IDENTITY_SETTINGS, (*_NUMBER, type(None))),
    "agent": {"name": str, "source": _TEXT_OR_NONE, "fingerprint": _TEXT_OR_NONE},
    "episodes": {"file": str, "n": int, "sha256": str},
}
_SET: Mapping[str, Any] = {
    "name": str,
    "source": str,
    "split": _TEXT_OR_NONE,
    "revision": _TEXT_OR_NONE,
    "size": int,
    "limit": _WHOLE_OR_NONE,
    "n": int,
    "source_fingerprint": str,
    "fingerprint": str,
    "metrics": dict,
}


def check_shape(content: Mapping[str, Any]) -> list[str]:
    """What of a record isn't as it should be; empty if all is."""
    found = list(_check(content, _TOP, "record.json"))
    if found:
        return found
    for name, fields in _PARTS.items():
        found += _check(content[name], fields, name)
    if not content["sets"]:
        found.append("sets is empty: a record is about at least one set.")
    for place, each in enumerate(content["sets"]):
        found += _check(each, _SET, f"sets[{place}]") if isinstance(each, dict) else [f"sets[{place}] is no object."]
    return found or list(_check_values(content))


def _check(content: Mapping[str, Any], fields: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, kinds in fields.items():
        if name not in content:
            yield f"{where} has no {name!r}."
        elif not _is(content[name], kinds):
            yield f"{where}: {name} is {content[name]!r:.60}, of the wrong type ({type(content[name]).__name__})."


def _is(value: Any, kinds: Any) -> bool:
    """As `isinstance`, but a truth value is no number."""
    return isinstance(value, kinds) and not (isinstance(value, bool) and bool not in _as_tuple(kinds))


def _as_tuple(kinds: Any) -> tuple[Any, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _check_values(content: Mapping[str, Any]) -> Iterator[str]:
    kind, state = content["engine"]["kind"], content["state"]
    if kind not in KINDS:
        yield f"engine: kind is one of {', '.join(KINDS)}; got {kind!r}."
    if state not in STATES:
        yield f"state is one of {', '.join(STATES)}; got {state!r}."
    if (state == "partial") != bool(content["why_partial"]):
        yield f"A partial record says why, and no other does: state {state!r}, why_partial {content['why_partial']!r}."
    names = [each["name"] for each in content["sets"]]
    if len(set(names)) < len(names):
        yield f"Two sets have the same name: {', '.join(names)}."
    try:
        datetime.date.fromisoformat(content["date"])
    except ValueError:
        yield f"date is a day such as 2026-01-31; got {content['date']!r}."
