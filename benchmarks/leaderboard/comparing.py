"""Whether two records may be compared, and what else to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.leaderboard.records import Record

__all__ = ["comparable", "notes", "questions_key"]

Content = Mapping[str, Any]


def questions_key(record: Record | Content) -> tuple[tuple[str, str], ...]:
    """What the questions of a record are: equal for records that may be compared. Each set's name and fingerprint."""
    return tuple((each["name"], each["fingerprint"]) for each in _content(record)["sets"])


def comparable(first: Record | Content, second: Record | Content) -> list[str]:
    """Why two records can't be compared; empty if they can.

    They can if they are complete and about the same questions: the same sets of the same split, revision, size and
    hash, and of these the same sample.
    """
    a, b = _content(first), _content(second)
    reasons = [
        f"The record {_name(each)} is partial: {each.get('why_partial') or 'it says no why'}. Run the same command again."
        for each in (a, b)
        if each["state"] != "complete"
    ]
    mine, theirs = ({each["name"]: each for each in content["sets"]} for content in (a, b))
    if set(mine) != set(theirs):
        only = sorted(set(mine) ^ set(theirs))
        reasons.append(
            f"They are of other sets: {', '.join(mine)} against {', '.join(theirs)} ({', '.join(only)} only on one "
            "side). Run both on the same suite."
        )
    for name in (name for name in mine if name in theirs):
        reasons += _set_reasons(name, mine[name], theirs[name])
    return reasons


def _set_reasons(name: str, mine: Content, theirs: Content) -> list[str]:
    if mine["fingerprint"] == theirs["fingerprint"]:
        return []
    for field, what in (("split", "split"), ("revision", "revision"), ("size", "size"), ("source_fingerprint", "hash")):
        if mine[field] != theirs[field]:
            return [
                f"The set {name!r} isn't the same: its {what} is {mine[field]!r} against {theirs[field]!r}. Run both on "
                "the same data."
            ]
    return [
        f"Of the set {name!r} other questions were played: limit {mine['limit']} ({mine['fingerprint']}) against "
        f"{theirs['limit']} ({theirs['fingerprint']}). Run both with the same --limit."
    ]


_SETTINGS = ("seed", "noise_probability", "topk", "max_turns", "max_new_tokens", "max_episode_tokens", "temperature")


def notes(first: Record | Content, second: Record | Content) -> list[str]:
    """What differs between two records that may be compared, as whoever compares them should know."""
    a, b = _content(first), _content(second)
    found = []
    for name in _SETTINGS:
        mine, theirs = a["settings"].get(name), b["settings"].get(name)
        if mine != theirs:
            found.append(f"{name} differs: {mine} against {theirs}.")
    if a["version"] != b["version"]:
        found.append(f"The versions of zs_env differ: {a['version']} against {b['version']}.")
    return found


def _content(record: Record | Content) -> Content:
    return record.content if isinstance(record, Record) else record


def _name(content: Content) -> str:
    row = content["row"]
    return f"{row['policy']!r} on {row['eval_engine']}"
