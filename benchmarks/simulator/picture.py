"""Records as one SVG picture: a panel a figure, a row a record, a dot with its interval, and the bar to reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["draw"]

_NAMES, _PLOT, _ROW, _TOP, _RIGHT = 250, 420, 24, 34, 70
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}.g{stroke:#ddd}.b{stroke:#c0392b;stroke-dasharray:4 3}"
    ".i{stroke:#0b4f9e;stroke-width:2}.d{fill:#0b4f9e}.o{fill:#fff;stroke:#0b4f9e;stroke-width:1.5}"
)


def draw(records: Sequence[Mapping[str, Any]]) -> str:
    """The figures that have a bar, of the questions of one hop; a ring: of all searches, delivered or not."""
    records = [record for record in records if record["bars"]]
    parts: list[str] = []
    top = 0
    for at in range(len(records[0]["bars"]) if records else 0):
        parts.append(_panel([(str(record["name"]), record["bars"][at]) for record in records], top))
        top += _TOP + _ROW * len(records) + 26
    width, height = _NAMES + _PLOT + _RIGHT, top + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Figures of simulators with their bars">\n<style>{_STYLE}</style>\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(rows: Sequence[tuple[str, Mapping[str, Any]]], top: int) -> str:
    bar = rows[0][1]
    figures = [row["figure"] for _, row in rows if row["figure"]["value"] is not None]
    end = max([1.0, *(value for figure in figures for value in (figure["value"], *(figure["ci"] or ())))])
    bottom = top + _TOP + _ROW * len(rows)

    def place(value: float) -> str:
        return f"{_NAMES + _PLOT * min(value, end) / end:.1f}"

    bound = bar["least"] if bar["least"] is not None else bar["most"]
    title = f"{bar['title']} ({'≥' if bar['least'] is not None else '≤'} {bound:g})"
    parts = [f'<text class="t" x="8" y="{top + 20}">{escape(title)}</text>']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = place(share * end)
        parts.append(f'<line class="g" x1="{x}" x2="{x}" y1="{top + _TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{share * end:.2g}</text>')
    x = place(bound)
    parts.append(f'<line class="b" x1="{x}" x2="{x}" y1="{top + _TOP - 6}" y2="{bottom}"/>')
    for number, (name, row) in enumerate(rows):
        parts += _row(name, row, top + _TOP + _ROW * number + _ROW // 2, place)
    return "\n".join(parts)


def _row(name: str, row: Mapping[str, Any], y: int, place: Any) -> list[str]:
    words = name if len(name) <= 34 else name[:33] + "…"
    parts = [f'<text x="8" y="{y + 4}">{escape(words)}</text>']
    figure = row["figure"]
    if figure["value"] is None:
        return [*parts, f'<text x="{place(0)}" y="{y + 4}">–</text>']
    if figure["ci"]:
        low, high = map(place, figure["ci"])
        parts.append(f'<line class="i" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>')
    parts.append(f'<circle class="d" cx="{place(figure["value"])}" cy="{y}" r="4"/>')
    beside = row.get("of_all")
    if beside and beside["value"] is not None:
        parts.append(f'<circle class="o" cx="{place(beside["value"])}" cy="{y}" r="6" fill-opacity="0"/>')
    parts.append(f'<text x="{_NAMES + _PLOT + 10}" y="{y + 4}">{figure["value"]:.3f}</text>')
    return parts
