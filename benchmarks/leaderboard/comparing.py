"""Whether two records may be compared, and what else to know about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.leaderboard.records import Record
from benchmarks.leaderboard.slugs import IDENTITY_SETTINGS, USUAL_SETTINGS, setting_of

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
        f"The record {_name(each)} is partial ({each.get('why_partial') or 'it says no why'}). Run it to its end."
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
                f"The set {name!r} isn't the same: its {what} is {mine[field]!r} against {theirs[field]!r}. Run "
                "both on the same data."
            ]
    return [
        f"Of the set {name!r} other questions were played: limit {mine['limit']} ({mine['fingerprint']}) against "
        f"{theirs['limit']} ({theirs['fingerprint']}). Run both with the same --limit."
    ]


def notes(first: Record | Content, second: Record | Content) -> list[str]:
    """What differs between two records that may be compared, as whoever compares them should know."""
    a, b = _content(first), _content(second)
    told = [
        ("the agent", a["row"]["agent"], b["row"]["agent"]),
        ("the model", a["row"]["model"], b["row"]["model"]),
        ("what it was trained on", a["row"]["train_engine"], b["row"]["train_engine"]),
        ("the engine", a["row"]["eval_engine"], b["row"]["eval_engine"]),
        ("the kind of engine", a["engine"]["kind"], b["engine"]["kind"]),
        *(
            (name.replace("_", " "), setting_of(a, name), setting_of(b, name))
            for name in (*IDENTITY_SETTINGS, *USUAL_SETTINGS)
        ),
        ("how tokens were counted", a["settings"].get("tokens"), b["settings"].get("tokens")),
        ("the judge", _judge(a), _judge(b)),
        ("the prices", a["settings"].get("prices"), b["settings"].get("prices")),
        ("the suite's version", _suite(a), _suite(b)),
        ("the version of zs_env", a["version"], b["version"]),
    ]
    found = [
        f"{what[0].upper()}{what[1:]} differs: {_said(mine)} against {_said(theirs)}."
        for what, mine, theirs in told
        if mine != theirs
    ]
    if a["agent"]["name"] == b["agent"]["name"] and a["agent"].get("fingerprint") != b["agent"].get("fingerprint"):
        found.append(f"The agent {a['agent']['name']!r} was changed in between: its fingerprints differ.")
    if a["machine"] != b["machine"]:
        found.append("They ran on different machines: seconds can't be compared.")
    if failed := [f"{_name(each)}: {each['num_failed']}" for each in (a, b) if each["num_failed"]]:
        found.append(f"Questions that failed are left out of both ({'; '.join(failed)}).")
    return found


def _said(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _judge(content: Content) -> Any:
    judge = content["settings"].get("judge")
    return judge.get("model", judge) if isinstance(judge, Mapping) else judge


def _suite(content: Content) -> str:
    return f"{content['suite']['name']} {content['suite']['version']}"


def _content(record: Record | Content) -> Content:
    return record.content if isinstance(record, Record) else record


def _name(content: Content) -> str:
    row = content["row"]
    return f"{row['policy']!r} on {row['eval_engine']}"
