"""The study's curves as one SVG picture: exact match in training, an arm a panel, a seed a line."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.learning.arms import ARMS

__all__ = ["draw_curves", "draw_panels"]

_WIDTH, _HEIGHT, _GAP, _COLUMNS = 250, 150, 46, 3
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}.a{stroke:#999}.g{stroke:#ddd}"
    ".s{fill:none;stroke:#7aa6d6;stroke-width:1}.m{fill:none;stroke:#0b4f9e;stroke-width:2.5}"
)


def draw_curves(records: Sequence[Mapping[str, Any]]) -> str:
    """Every arm that has curves, each seed smoothed over 3 steps, and the mean of all seeds in bold."""
    panels: list[tuple[str, list[Sequence[float]]]] = []
    for arm in ARMS:
        curves = [
            record["curves"]["exact_match"]
            for record in records
            if record["arm"] == arm.name and record["curves"].get("exact_match")
        ]
        if curves:
            panels.append((arm.title, curves))
    return draw_panels(panels, label="Exact match in training, by arm")


def draw_panels(panels: Sequence[tuple[str, Sequence[Sequence[float]]]], *, label: str) -> str:
    """Panels beside and below each other: for each a title and its curves, of values from 0 to 1."""
    drawn = [_panel(title, curves, index) for index, (title, curves) in enumerate(panels)]
    columns, rows = min(_COLUMNS, len(panels)), -(-len(panels) // _COLUMNS)
    width, height = columns * (_WIDTH + _GAP) + _GAP, rows * (_HEIGHT + 2 * _GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}">\n<style>{_STYLE}</style>\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _panel(title: str, curves: Sequence[Sequence[float]], index: int) -> str:
    left = _GAP + (index % _COLUMNS) * (_WIDTH + _GAP)
    top = _GAP + (index // _COLUMNS) * (_HEIGHT + 2 * _GAP)
    num_steps = max(len(curve) for curve in curves)

    def path(kind: str, values: Sequence[float]) -> str:
        points = (
            f"{left + _WIDTH * step / max(num_steps - 1, 1):.1f},{top + _HEIGHT * (1 - value):.1f}"
            for step, value in enumerate(values)
        )
        return f'<polyline class="{kind}" points="{" ".join(points)}"/>'

    words = title if len(title) <= 40 else title[:39] + "…"
    parts = [f'<text class="t" x="{left}" y="{top - 10}">{escape(words)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = top + _HEIGHT * (1 - share)
        parts.append(f'<line class="{"a" if not share else "g"}" x1="{left}" x2="{left + _WIDTH}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{share:g}</text>')
    parts.append(f'<text x="{left}" y="{top + _HEIGHT + 16}">step 0</text>')
    parts.append(f'<text x="{left + _WIDTH}" y="{top + _HEIGHT + 16}" text-anchor="end">{num_steps - 1}</text>')
    smoothed = [_smooth(curve) for curve in curves]
    parts += [path("s", curve) for curve in smoothed]
    shortest = min(len(curve) for curve in smoothed)
    parts.append(path("m", [statistics.fmean(curve[step] for curve in smoothed) for step in range(shortest)]))
    return "\n".join(parts)


def _smooth(curve: Sequence[float], window: int = 3) -> list[float]:
    return [statistics.fmean(curve[max(at - window + 1, 0) : at + 1]) for at in range(len(curve))]
