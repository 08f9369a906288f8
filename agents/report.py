"""What a person reads at the end of a run: before and after, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["comparison_table", "events_line", "measure_table"]


_EVENTS = {
    "sampler_replaced": "samplers that were lost and replaced",
    "learners_restarted": "times that the learners were lost and began again",
}
"""Kind to words, where the kind alone says too little."""


def _with_interval(share: float | None, interval: Any) -> str:
    if share is None:
        return "–"
    low, high = interval
    return f"{share:.3f} [{low:.3f}, {high:.3f}]"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each line about a record M."""
    rows = [("exact match, greedy", _with_interval(record["em_greedy"], record["em_greedy_ci"]))]
    for hops, part in record["em_greedy_by_hops"].items():
        rows.append((f"  questions of {hops} hop{'s' if hops != '1' else ''}", _with_interval(part["em"], part["ci"])))
    if hostile := record.get("attack_success"):
        rows.append((f"gave a pushed answer (of {hostile['n']})", _with_interval(hostile["share"], hostile["ci"])))
        for attack, part in hostile["by_attack"].items():
            rows.append((f"  {attack}: exact match", _with_interval(part["em"], part["em_ci"])))
            if part["n_pushed"]:
                rows.append((f"  {attack}: gave it", _with_interval(part["share"], part["ci"])))
    rows += [
        ("exact match, sampled", _plain(record["em_sampled"])),
        ("searches an episode", _plain(record["searches_per_episode"])),
        ("searches again after noisy", _plain(record["search_again_after_noisy"])),
        ("searches again after useful", _plain(record["search_again_after_useful"])),
    ]
    return rows


def measure_table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """One column of numbers for each chance of noise (`{"noise_0": M, …}`)."""
    return _table([(name, {"": record}) for name, record in records.items()])


def comparison_table(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> str:
    """Before and after side by side, for each chance of noise."""
    return _table([(name, {"before": before[name], "after": after[name]}) for name in before])


def events_line(events: Sequence[Mapping[str, Any]]) -> str:
    """What happened to a run's processes, in a line; empty if nothing did.

    Examples:
        >>> events_line([{"kind": "sampler_replaced"}, {"kind": "learners_restarted"}, {"kind": "sampler_replaced"}])
        'Samplers that were lost and replaced: 2; times that the learners were lost and began again: 1.'
    """
    counts = Counter(str(event.get("kind")) for event in events)
    told = [f"{_EVENTS.get(kind, kind.replace('_', ' '))}: {count}" for kind, count in counts.items()]
    line = "; ".join(told)
    return f"{line[0].upper()}{line[1:]}." if line else ""


def _table(parts: list[tuple[str, dict[str, Mapping[str, Any]]]]) -> str:
    lines = []
    for name, columns in parts:
        rows = [_rows(record) for record in columns.values()]
        title, counts = f"noise {name.removeprefix('noise_')}", [record["n"] for record in columns.values()]
        if len(set(counts)) == 1:
            title += f", {counts[0]} questions"
        else:
            rows = [[("questions", str(count)), *row] for count, row in zip(counts, rows, strict=True)]
        if any(record["num_failed"] for record in columns.values()):
            failed = [("failed, in no number here", str(record["num_failed"])) for record in columns.values()]
            rows = [[*row, line] for row, line in zip(rows, failed, strict=True)]
        lines.append("".join([f"{title:<32}", *(f"{column:<24}" for column in columns)]).rstrip())
        # A policy that doesn't search before training meets no hostile document, and its column lacks those lines.
        labels = dict.fromkeys(label for column in sorted(rows, key=len, reverse=True) for label, _ in column)
        values = [dict(column) for column in rows]
        for label in labels:
            lines.append("".join([f"  {label:<30}", *(f"{column.get(label, '–'):<24}" for column in values)]).rstrip())
        lines.append("")
    return "\n".join(lines).rstrip()
