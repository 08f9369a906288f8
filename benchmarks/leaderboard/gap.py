"""The sim-to-real gap: the same policy and questions closed-book, simulated, and on a real engine.

What a policy gains from closed-book to a real engine, it found by searching; what it knows closed-book, it remembered.
What it loses from simulated to real, its training or its evaluation flattered it by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.leaderboard.comparing import questions_key
from benchmarks.leaderboard.pairs import MACRO, Scores, paired_by_set
from benchmarks.leaderboard.record_shape import KINDS
from benchmarks.leaderboard.records import Record
from benchmarks.leaderboard.slugs import USUAL_SETTINGS, setting_of

__all__ = ["Gap", "find_gaps", "gap_key"]

_SETTINGS = ("seed", "topk", "max_turns", "max_new_tokens", "max_episode_tokens", "temperature")
"""The chance of noise isn't one of them: it means nothing to a closed book or a real engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The records of one policy on the same questions, by kind of engine.

    Attributes:
        policy: The policy.
        train_engine: What it was trained on.
        rows: For each kind that was run, in the order of `KINDS`: `{"slug", "engine", "noise_probability", "em"}`, the
            last as in a record's `macro`; several of a kind in the order of their slugs.
        differences: For each two of other kinds, the earlier kind first: `{"from", "to"}` (slugs), `{"from_kind",
            "to_kind"}`, and of `paired_test` on the average over sets the difference `to` less `from`, its interval
            and p.
    """

    policy: str
    train_engine: str
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    differences: Sequence[Mapping[str, Any]]

    def difference(self, from_kind: str, to_kind: str) -> Mapping[str, Any] | None:
        """The first difference between two kinds; None if one wasn't run."""
        wanted = (from_kind, to_kind)
        return next((each for each in self.differences if (each["from_kind"], each["to_kind"]) == wanted), None)

    def slugs(self) -> list[str]:
        """All of its records."""
        return [row["slug"] for rows in self.rows.values() for row in rows]


def gap_key(record: Record) -> str:
    """Equal for records that differ in their engine (and its noise) alone."""
    content = record.content
    row = content["row"]
    told = {
        "row": [row["policy"], row["agent"], row["model"], row["train_engine"]],
        "agent": content["agent"].get("fingerprint"),
        "questions": questions_key(record),
        "settings": {name: setting_of(content, name) for name in (*_SETTINGS, *USUAL_SETTINGS)},
        "fingerprints": content.get("fingerprints"),
    }
    return json.dumps(told, sort_keys=True)


def find_gaps(records: Sequence[Record], scores: Mapping[str, Scores] | None = None) -> list[Gap]:
    """The gap of every policy of which complete records of two kinds are there.

    Args:
        records: All of a board.
        scores: Exact matches by slug, where they were read already.
    """
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda each: each.slug):
        if record.is_complete:
            groups.setdefault(gap_key(record), []).append(record)
    several = [group for group in groups.values() if len({_kind(record) for record in group}) > 1]
    return [_gap(group, scores or {}) for group in several]


def _kind(record: Record) -> str:
    return str(record.content["engine"]["kind"])


def _gap(group: Sequence[Record], known: Mapping[str, Scores]) -> Gap:
    ordered = sorted(group, key=lambda record: KINDS.index(_kind(record)))
    scores = {each.slug: known[each.slug] if each.slug in known else Scores.of(each.episodes()) for each in ordered}
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for record in ordered:
        rows.setdefault(_kind(record), []).append(_row(record))
    differences = [
        _difference(before, after, scores)
        for place, before in enumerate(ordered)
        for after in ordered[place + 1 :]
        if _kind(before) != _kind(after)
    ]
    row = ordered[0].content["row"]
    return Gap(policy=row["policy"], train_engine=row["train_engine"], rows=rows, differences=differences)


def _row(record: Record) -> dict[str, Any]:
    content = record.content
    return {
        "slug": record.slug,
        "engine": content["row"]["eval_engine"],
        "noise_probability": content["settings"]["noise_probability"],
        "em": content["macro"]["em"],
    }


def _difference(before: Record, after: Record, scores: Mapping[str, Scores]) -> dict[str, Any]:
    tested = paired_by_set(scores[after.slug], scores[before.slug])[MACRO]
    return {
        "from": before.slug,
        "to": after.slug,
        "from_kind": _kind(before),
        "to_kind": _kind(after),
        **{name: tested[name] for name in ("difference", "ci", "p", "n")},
    }
