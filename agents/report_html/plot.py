"""One curve as inline SVG, drawn without a library: for a phone, for paper and without a script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agents.report_html.folder import Alarm, Event, spread
from agents.report_html.markup import clip, exact_number, short_number, text

__all__ = ["BIGGEST", "HEIGHT", "WIDTH", "drawing", "nice_ticks", "smooth"]

BIGGEST = 1e30
"""No value beyond is drawn."""

WIDTH, HEIGHT = 320, 168
"""Of a drawing, in its own units."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, WIDTH - 8, 10, HEIGHT - 34
_MAX_POINTS = 400  # of a drawn line
_MAX_READ = 250  # points of a curve whose value can be read
_MAX_MARKS = 50  # of a kind


@dataclass(frozen=True, slots=True)
class _Frame:
    """From steps and values to places.

    Attributes:
        first: The first step.
        last: The last step.
        low: The value at the bottom.
        high: The value at the top.
    """

    first: int
    last: int
    low: float
    high: float

    def x(self, step: float) -> float:
        where = (step - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return _LEFT + 4 + where * (_RIGHT - _LEFT - 8)

    def y(self, value: float) -> float:
        return _BOTTOM - (value - self.low) / (self.high - self.low) * (_BOTTOM - _TOP)


def drawing(values: Mapping[int, float], steps: tuple[int, int], noted: Sequence[Alarm | Event]) -> str:
    """What is inside a curve's `<svg>`: axes, alarms, events, each value faint and their moving average strong.

    Args:
        values: Step to value, by step. Those that aren't finite are marked and not drawn.
        steps: The first and the last step of the axis.
        noted: Marked at their steps.
    """
    drawn = {step: value for step, value in values.items() if abs(value) <= BIGGEST}
    low, high = (min(drawn.values()), max(drawn.values())) if drawn else (0.0, 1.0)
    if 0 <= low < 0.6 * high:
        low = 0.0
    levels = nice_ticks(low, high, 5)
    frame = _Frame(*steps, levels[0], levels[-1])
    return "".join([_axes(frame, levels), _marks(frame, noted), _lines(frame, drawn), _readings(frame, values)])


def _axes(frame: _Frame, levels: Sequence[float]) -> str:
    parts = []
    for level, label in zip(levels, _labels(levels), strict=True):
        y = frame.y(level)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for step in _step_ticks(frame.first, frame.last):
        x = frame.x(step)
        parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{_BOTTOM}" y2="{_BOTTOM + 4}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 16}" text-anchor="middle">{step:,.0f}</text>')
    parts.append(f'<text x="{(_LEFT + _RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">step</text>')
    return "".join(parts)


def _labels(levels: Sequence[float]) -> list[str]:
    """The levels in as few digits as tell them apart."""
    gap = levels[1] - levels[0]
    for digits in range(3, 13):
        if all(abs(float(f"{level:.{digits}g}") - level) < gap / 100 for level in levels):
            break
    return [short_number(level, digits) for level in levels]


def _step_ticks(first: int, last: int) -> list[float]:
    if last == first:
        return [float(first)]
    return [tick for tick in nice_ticks(first, last, 6) if first <= tick <= last and tick == int(tick)]


def _marks(frame: _Frame, noted: Sequence[Alarm | Event]) -> str:
    """An alarm's triangle hangs from the top, an event's stands on the axis."""
    parts = []
    for kind, shape in ((Alarm, f"{_TOP - 8}h10l-5 9z"), (Event, f"{_BOTTOM + 1}h10l-5 -9z")):
        for one in [one for one in noted if isinstance(one, kind)][:_MAX_MARKS]:
            if one.step is not None and frame.first <= one.step <= frame.last:
                name, x = kind.__name__.lower(), frame.x(one.step)
                told = clip(f"{name}, step {one.step}: {one.message}", 300)[0]
                parts.append(
                    f'<g class="{name}"><title>{text(told)}</title>'
                    f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>'
                    f'<path d="M{x - 5:.1f} {shape}"/></g>'
                )
    return "".join(parts)


def _lines(frame: _Frame, drawn: Mapping[int, float]) -> str:
    if not drawn:
        return ""
    points = [(frame.x(step), frame.y(value)) for step, value in drawn.items()]
    averages = smooth(list(drawn.values()), min(max(len(drawn) / 10, 3.0), 50.0))
    strong = [(frame.x(step), frame.y(value)) for step, value in zip(drawn, averages, strict=True)]
    dots = "".join(
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points[: 41 * (len(points) < 41)]
    )
    return (
        f'<path class="raw" d="{_path(_envelope(points))}"/>'
        f'<path class="smooth" d="{_path([strong[index] for index in spread(len(strong), _MAX_POINTS)])}"/>{dots}'
    )


def smooth(values: Sequence[float], span: float) -> list[float]:
    """An exponential moving average over about `span` values; the first ones weigh as much as their share.

    Examples:
        >>> smooth([2.0, 2.0, 5.0], 1)
        [2.0, 2.0, 5.0]
    """
    keep = 1 - 2 / (span + 1)
    total = weight = 0.0
    smoothed = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        smoothed.append(total / weight)
    return smoothed


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers that hold `[low, high]` between the first and the last of them.

    Examples:
        >>> nice_ticks(0.03, 0.91, 5)
        [0.0, 0.25, 0.5, 0.75, 1.0]
        >>> nice_ticks(3.0, 3.0, 5)  # one value alone: from zero to beyond it
        [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        low, high = min(low * 1.25, 0.0), max(high * 1.25, 0.0)
        if low == high:
            high = 1.0
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50):
        size = factor * power
        first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
        if last - first < most:
            break
    return [float(f"{index * size:.12g}") for index in range(first, last + 1)]


def _readings(frame: _Frame, values: Mapping[int, float]) -> str:
    """What is read at a step: a strip for each with its value as a title, which the script makes into a cursor."""
    chosen = [list(values)[index] for index in spread(len(values), _MAX_READ)]
    places = [frame.x(step) for step in chosen]
    edges = [(left + right) / 2 for left, right in pairwise(places)]
    strips = []
    for step, left, right, x in zip(chosen, [_LEFT, *edges], [*edges, _RIGHT], places, strict=True):
        value = values[step]
        height = f' data-y="{frame.y(value):.1f}"' if abs(value) <= BIGGEST else ""
        strips.append(
            f'<rect x="{left:.1f}" width="{right - left:.1f}" data-step="{step}" data-x="{x:.1f}"{height}>'
            f"<title>step {step}: {exact_number(value)}</title></rect>"
        )
    bad = [step for step, value in values.items() if not abs(value) <= BIGGEST]
    marks = [
        f'<text class="bad" x="{frame.x(bad[index]):.1f}" y="{_TOP + 8}" text-anchor="middle">×</text>'
        for index in spread(len(bad), _MAX_MARKS)
    ]
    return f'{"".join(marks)}<g class="strips">{"".join(strips)}</g>'


def _envelope(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points, or the lowest and the highest of each stretch of them, so that no peak is lost."""
    if len(points) <= _MAX_POINTS:
        return list(points)
    edges = [round(index * len(points) / (_MAX_POINTS // 2)) for index in range(_MAX_POINTS // 2 + 1)]
    kept = []
    for first, last in pairwise(edges):
        stretch = points[first:last]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return kept


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
