"""Tables of records, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["bar_table", "render", "share_text", "tables_of"]

Record = Mapping[str, Any]

GROUPS = {"single_hop": "questions of one hop", "multi_hop": "questions of several hops", "all": "all questions"}


def render(records: Sequence[Record]) -> str:
    """Every table: the bars, then what each group of questions gave, a record a column."""
    parts = [bar_table(records)]
    parts += [tables_of(records, group, title) for group, title in GROUPS.items() if group != "all"]
    if any(len(record["figures"]) == 3 for record in records):
        parts.append(tables_of(records, "all", GROUPS["all"]))
    parts.append(_errors(records))
    return "\n\n".join(part for part in parts if part)


def _errors(records: Sequence[Record]) -> str:
    """Why searches failed."""
    lines = [
        f"- {record['name']}: {count} × {error}"
        for record in records
        for error, count in record["figures"]["all"]["both"]["errors"].items()
    ]
    return "\n".join(["## Failed searches", "", *lines]) if lines else ""


def bar_table(records: Sequence[Record]) -> str:
    """Each bar with the figures that it is held against."""
    with_bars = [record for record in records if record["bars"]]
    if not with_bars:
        return ""
    rows = []
    for at, first in enumerate(with_bars[0]["bars"]):
        bound = f"≥ {100 * first['least']:.0f} %" if first["least"] is not None else f"≤ {100 * first['most']:.0f} %"
        if first["title"].startswith("query similarity"):
            bound = f"≥ {first['least']:g}"
        rows.append([f"{first['title']} ({bound})", *(_bar_cell(record["bars"][at]) for record in with_bars)])
    return _table("Bars, on questions of one hop", [record["name"] for record in with_bars], rows)


def _bar_cell(bar: Mapping[str, Any]) -> str:
    word = {True: "met", False: "**missed**", None: "no figure"}[bar["met"]]
    text = _number(bar["figure"]) if bar["title"].startswith("query similarity") else share_text(bar["figure"])
    beside = f"; of all: {share_text(bar['of_all'])}" if bar.get("of_all") else ""
    return f"{word}: {text}{beside}"


def tables_of(records: Sequence[Record], group: str, title: str) -> str:
    """What a group of questions gave, a row a figure, a column a record."""
    found = [record for record in records if group in record["figures"]]
    if not found:
        return ""
    figures = [record["figures"][group] for record in found]
    rows = [["questions", *(str(each["num_questions"]) for each in figures)]]
    for quality in ("useful", "noisy"):
        for label, cell in _quality_rows(quality):
            cells = [cell(each[quality]) for each in figures]
            if label != "similarity of meaning" or set(cells) != {"–"}:
                rows.append([f"{quality}: {label}", *cells])
    rows.append(["query similarity, noisy / useful", *(_number(each["similarity_ratio"]) for each in figures)])
    if any(each["meaning_ratio"]["value"] is not None for each in figures):
        rows.append(["similarity of meaning, noisy / useful", *(_number(each["meaning_ratio"]) for each in figures)])
    for label, cell in _both_rows():
        rows.append([label, *(cell(each["both"]) for each in figures)])
    if group == "all" or len(found[0]["figures"]) == 2:
        rows.append(["searches a second, side by side", *(_rate(record) for record in found)])
    return _table(title.capitalize(), [record["name"] for record in found], rows)


Cell = Callable[[Mapping[str, Any]], str]


def _quality_rows(quality: str) -> Iterator[tuple[str, Cell]]:
    verdict = "holding" if quality == "useful" else "free"
    words = "holds an answer" if quality == "useful" else "is free of an answer"
    yield "delivered", lambda figures: share_text(figures["delivered"])
    yield f"{words}, of delivered", lambda figures: share_text(figures["of_delivered"][verdict])
    yield f"{words}, of all that didn't fail", lambda figures: share_text(figures[verdict])
    if quality == "noisy":
        yield "and of each telling word of one", lambda figures: share_text(figures["free_of_hints"])
    if quality == "useful":
        yield "the same by DPR's rule alone", lambda figures: share_text(figures["holding_literally"])
    yield "can't be told", lambda figures: _counts(figures["excluded"])
    yield "query similarity", lambda figures: _plain(figures["similarity"])
    yield "similarity of meaning", lambda figures: _plain(figures["meaning"])
    if quality == "useful":
        yield "documents that hold an answer", lambda figures: share_text(figures["documents_holding"])


def _both_rows() -> Iterator[tuple[str, Cell]]:
    yield "failed", lambda figures: share_text(figures["failed"])
    yield "documents of those asked for", lambda figures: share_text(figures["documents"])
    yield "words a document: mean, median", lambda f: f"{_plain(f['mean_words'], 1)}, {_plain(f['median_words'], 0)}"
    yield "distinct words, pairs of words", lambda f: f"{_plain(f['distinct_1'])}, {_plain(f['distinct_2'])}"
    yield "documents that repeat one of the same result", lambda figures: share_text(figures["repeated"])
    yield "documents that repeat another question's", lambda figures: share_text(figures["repeated_elsewhere"])
    yield "documents that copy from the prompt", lambda figures: share_text(figures["copied"])
    yield "documents that say back the query", lambda figures: share_text(figures["said_back"])
    yield "documents of fewer than 5 words", lambda figures: share_text(figures["short"])
    yield "tries: searches", lambda figures: _counts(figures["tries"])
    yield "documents dropped, replies cut", lambda figures: f"{figures['documents_dropped']}, {figures['cut']}"
    yield "seconds a search: p50, p95, p99", _latency
    yield "tokens in per 1,000 searches", lambda figures: _number(figures["input_tokens_per_1000"], 0)
    yield "tokens out per 1,000 searches", lambda figures: _number(figures["output_tokens_per_1000"], 0)
    yield "cost per 1,000 searches", lambda figures: _number(figures["cost_per_1000"], 3)


def share_text(figure: Mapping[str, Any]) -> str:
    """A share as people read it.

    Examples:
        >>> share_text({"value": 0.975, "hits": 39, "n": 40, "ci": [0.8712, 0.9956]})
        '97.5 % [87.1, 99.6] (39/40)'
    """
    if figure["value"] is None:
        return "–"
    interval = figure.get("ci")
    ends = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * figure['value']:.1f} %{ends} ({figure['hits']}/{figure['n']})"


def _number(figure: Mapping[str, Any], digits: int = 2) -> str:
    if figure["value"] is None:
        return "–"
    ends = ", ".join(f"{end:,.{digits}f}" for end in figure["ci"] or ())
    return f"{figure['value']:,.{digits}f}" + (f" [{ends}]" if ends else "")


def _plain(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "–"


def _latency(figures: Mapping[str, Any]) -> str:
    latency = figures["latency_s"]
    return ", ".join(f"{latency[name]:.3g}" for name in ("p50", "p95", "p99")) if latency else "–"


def _rate(record: Record) -> str:
    rate = record["searches_per_s"]
    return "–" if rate is None else f"{rate:.3g}, {record['settings']['concurrency']}"


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = ["", *(name.replace("|", "/") for name in names)]
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
