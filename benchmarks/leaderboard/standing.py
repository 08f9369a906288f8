"""What stands where: records in groups of the same questions, ranked within these, compared pair by pair.

- A group is a suite and its questions. Between groups nothing is ranked or compared.
- Rank is by exact match, the mean over sets. Bounds and partial records have none: the first are no policies, the
  second no whole evaluations.
- A row that a paired test can't tell from the ranked row above says so (`tie`). It keeps its rank: "not told apart" is
  no order of its own, since A may not differ from B, nor B from C, and A still from C.

All figures are rounded as far as a reader could tell, so that another machine's last digit makes no other page.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.leaderboard.comparing import comparable, notes, questions_key
from benchmarks.leaderboard.gap import Gap, find_gaps
from benchmarks.leaderboard.pairs import MACRO, Scores, paired_by_set
from benchmarks.leaderboard.records import Record
from benchmarks.leaderboard.slugs import IDENTITY_SETTINGS, USUAL_SETTINGS, setting_of

__all__ = ["ALPHA", "BOUNDS", "Group", "Row", "group_records"]

ALPHA = 0.05
"""Below this p, a paired test tells two rows apart."""

BOUNDS = ("oracle", "random")
"""Agents that show between which figures policies move; none of them is one."""

_DIGITS = 4
_TESTED = ("difference", "ci", "p", "n", "only_first", "only_second")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A record's place.

    Attributes:
        record: The record.
        rank: From 1; None if it isn't ranked.
        unranked: Why it isn't: "bound", "partial" or "nothing" (no question that counts).
        tie: `{"p"}` if a paired test can't tell it from the ranked row above.
        gap: `closed_book`, `simulated` and `real`: `{"value", "ci", "slug"}` of the record of that kind that it is held
            against, itself among them; `gap` (real less simulated) and `gain` (real less closed-book): `{"value", "ci",
            "p"}`. Only what there are records for; None if of none.
        apart: The settings that tell it from rows of the same policy, train engine and eval engine; empty without such.
    """

    record: Record
    rank: int | None
    unranked: str | None
    tie: Mapping[str, Any] | None
    gap: Mapping[str, Any] | None
    apart: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """The record's name."""
        return self.record.slug


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows on the same questions.

    Attributes:
        id: Names the group in addresses.
        title: Names it for people.
        sets: The sets as in `record.json`, without figures.
        rows: Ranked ones first, in order; then the others, the better first.
        pairs: For two rows that may be compared, by their slugs, the earlier row first: `macro` and `sets` (by name),
            each what `paired_test` says of exact match, and `notes`.
    """

    id: str
    title: str
    sets: Sequence[Mapping[str, Any]]
    rows: Sequence[Row]
    pairs: Mapping[tuple[str, str], Mapping[str, Any]]


def group_records(records: Sequence[Record]) -> list[Group]:
    """All groups: by suite, those with more rows first.

    Raises:
        RecordError: A record's episodes can't be read.
        ConfigError: Records that say they are of the same questions hold others.
    """
    found: dict[tuple[str, Any], list[Record]] = {}
    for record in sorted(records, key=lambda each: each.slug):
        found.setdefault((record.content["suite"]["name"], questions_key(record)), []).append(record)
    ordered = sorted(found.items(), key=lambda item: (item[0][0], -len(item[1]), str(item[0][1])))
    names = [suite for (suite, _), _ in ordered]
    return [_group(suite, key, members, is_only=names.count(suite) == 1) for (suite, key), members in ordered]


def _group(suite: str, key: tuple[tuple[str, str], ...], records: Sequence[Record], *, is_only: bool) -> Group:
    scores = {record.slug: Scores.of(record.episodes()) for record in records}
    gaps = {slug: gap for gap in find_gaps(records, scores) for slug in gap.slugs()}
    reasons = {record.slug: _why_unranked(record) for record in records}
    ordered = sorted(records, key=lambda each: (reasons[each.slug] is not None, -(_em(each) or 0.0), each.slug))
    pairs = _pairs(ordered, scores)
    rows: list[Row] = []
    for place, record in enumerate(ordered):
        above = rows[-1] if rows else None
        rows.append(
            Row(
                record=record,
                rank=_rank(place, record, above) if reasons[record.slug] is None else None,
                unranked=reasons[record.slug],
                tie=_tie(pairs.get((above.slug, record.slug))) if above and reasons[record.slug] is None else None,
                gap=_gap_of(record.slug, gaps.get(record.slug)),
                apart=_apart(record, records),
            )
        )
    sets = [{name: value for name, value in each.items() if name != "metrics"} for each in records[0].content["sets"]]
    told = hashlib.sha256(repr(key).encode()).hexdigest()[:6]
    title = suite if is_only else f"{suite}, {sum(each['n'] for each in sets):,} questions"
    return Group(id=f"{suite}-{told}", title=title, sets=sets, rows=rows, pairs=pairs)


def _rank(place: int, record: Record, above: Row | None) -> int:
    return above.rank if above and above.rank and _em(above.record) == _em(record) else place + 1


def _tie(pair: Mapping[str, Any] | None) -> dict[str, Any] | None:
    p = None if pair is None else pair["macro"]["p"]
    return None if p is None or p < ALPHA else {"p": p}


def _em(record: Record) -> float | None:
    em = record.content["macro"]["em"]
    return None if em is None else float(em["value"])


def _why_unranked(record: Record) -> str | None:
    if record.content["row"]["agent"] in BOUNDS:
        return "bound"
    if not record.is_complete:
        return "partial"
    return "nothing" if _em(record) is None else None


def _pairs(records: Sequence[Record], scores: Mapping[str, Scores]) -> dict[tuple[str, str], Mapping[str, Any]]:
    pairs: dict[tuple[str, str], Mapping[str, Any]] = {}
    for first, second in itertools.combinations(records, 2):
        if comparable(first, second):
            continue
        tests = paired_by_set(scores[first.slug], scores[second.slug])
        kept = {name: _rounded({field: test[field] for field in _TESTED}) for name, test in tests.items()}
        pairs[first.slug, second.slug] = {
            "macro": kept.pop(MACRO),
            "sets": kept,
            "notes": notes(first, second),
        }
    return pairs


def _gap_of(slug: str, gap: Gap | None) -> dict[str, Any] | None:
    """A row's gap: of each kind itself, else one with the same noise, else the first; the train engine first."""
    if gap is None:
        return None
    own = next(row for rows in gap.rows.values() for row in rows if row["slug"] == slug)
    held = {}
    for kind, rows in gap.rows.items():
        same = [row for row in rows if row["noise_probability"] == own["noise_probability"]] or list(rows)
        trained_on = [row for row in same if row["engine"] == gap.train_engine]
        held[kind] = own if own in rows else (trained_on or same)[0]
    told: dict[str, Any] = {}
    for kind, name in (("closed-book", "closed_book"), ("simulated", "simulated"), ("real", "real")):
        if kind in held and held[kind]["em"] is not None:
            em = held[kind]["em"]
            told[name] = {"value": em["value"], "ci": em["ci"], "slug": held[kind]["slug"]}
    for kind, name in (("simulated", "gap"), ("closed-book", "gain")):
        ends = tuple(held[end]["slug"] for end in (kind, "real") if end in held)
        test = next((each for each in gap.differences if (each["from"], each["to"]) == ends), None)
        if test is not None and test["difference"] is not None:
            told[name] = _rounded({"value": test["difference"], "ci": test["ci"], "p": test["p"]})
    return told


def _apart(record: Record, records: Sequence[Record]) -> dict[str, Any]:
    kin = [each.content for each in records if each.content["row"] == record.content["row"]]
    own = {name: setting_of(record.content, name) for name in (*IDENTITY_SETTINGS, *USUAL_SETTINGS)}
    return {name: value for name, value in own.items() if any(setting_of(each, name) != value for each in kin)}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS) + 0.0  # −0.0 becomes 0.0
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
