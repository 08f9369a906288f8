"""Records and comparisons as tables, for a terminal and for Markdown alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.leaderboard.pairs import MACRO
from benchmarks.leaderboard.records import Record

__all__ = ["render_comparison", "render_records", "table"]

_NONE = "–"
_WHO = ("policy", "train", "eval")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns padded so that it reads well as it is.

    Examples:
        >>> print(table(["engine", "n"], [["bm25", "200"]]))
        | engine | n   |
        |--------|-----|
        | bm25   | 200 |
    """
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def render_records(records: Sequence[Record]) -> str:
    """One row a record, with the macro average over its sets; then exact match by set, where there are several."""
    rows = [_row(record) for record in records]
    head = [
        "policy",
        "train",
        "eval",
        "n",
        "EM",
        "F1",
        "contained",
        "unanswered",
        "searches",
        "seconds",
        "cost",
        "state",
    ]
    parts = [table(head, rows)]
    sets = list(dict.fromkeys(each["name"] for record in records for each in record.content["sets"]))
    if len(sets) > 1:
        by_set = [{each["name"]: each["metrics"]["em"] for each in record.content["sets"]} for record in records]
        named = [
            [*_who(record), *(_score(found.get(name)) for name in sets)]
            for record, found in zip(records, by_set, strict=True)
        ]
        parts.append(table(["policy", "train", "eval", *(f"EM {name}" for name in sets)], named))
    return "\n\n".join(parts)


def _who(record: Record) -> list[str]:
    row, noise = record.content["row"], record.content["settings"]["noise_probability"]
    return [row["policy"], row["train_engine"], row["eval_engine"] + (f", noise {noise:g}" if noise else "")]


def _row(record: Record) -> list[str]:
    macro = record.content["macro"]
    seconds = macro["seconds"]
    return [
        *_who(record),
        str(macro["n"]),
        *(_score(macro[name]) for name in ("em", "f1", "containment")),
        _number(macro["unanswered"], ".3f"),
        _number(macro["searches"], ".2f"),
        _number(None if seconds is None else seconds["mean"], ".3g"),
        _number(None if macro["cost"] is None else macro["cost"]["value"], ".3g"),
        record.content["state"],
    ]


def _score(found: Mapping[str, Any] | None) -> str:
    """A figure with its interval."""
    return _NONE if found is None else f"{found['value']:.3f} [{found['ci'][0]:.3f}, {found['ci'][1]:.3f}]"


def _number(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)


def render_comparison(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What `paired_by_set` gives, one row a set.

    Args:
        found: By set, "macro" last.
    """
    rows = [
        [
            name,
            str(each["n"]),
            _NONE
            if each["difference"] is None
            else f"{each['difference']:+.3f} [{each['ci'][0]:+.3f}, {each['ci'][1]:+.3f}]",
            _p(each["p"]),
            str(each["only_first"]),
            str(each["only_second"]),
        ]
        for name, each in found.items()
        if name != MACRO or len(found) > 2  # the average over one set is that set
    ]
    return table(["set", "n", "A − B", "p", "better in A alone", "better in B alone"], rows)


def _p(value: float | None) -> str:
    if value is None:
        return _NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
