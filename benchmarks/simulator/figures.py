"""The bars that a simulator is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zs_env.measuring.figures import Figures

__all__ = ["BARS", "Bar", "check_bars"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a figure must reach.

    Attributes:
        title: What is said of it.
        path: Where the figure is among those of the single-hop questions.
        beside: Where the same figure of all searches that didn't fail is, if the bar is on delivered ones alone.
        least: The least that it may be; None for no such bound.
        most: The most that it may be.
    """

    title: str
    path: tuple[str, ...]
    beside: tuple[str, ...] | None = None
    least: float | None = None
    most: float | None = None


BARS: tuple[Bar, ...] = (
    Bar(title="requests delivered", path=("both", "delivered"), least=0.80),
    Bar(
        title="noisy, delivered: free of an answer",
        path=("noisy", "of_delivered", "free"),
        beside=("noisy", "free"),
        least=0.97,
    ),
    Bar(
        title="useful, delivered: holding an answer",
        path=("useful", "of_delivered", "holding"),
        beside=("useful", "holding"),
        least=0.90,
    ),
    Bar(title="query similarity, noisy / useful", path=("similarity_ratio",), least=0.80),
    Bar(title="documents that repeat one of the same result", path=("both", "repeated"), most=0.05),
    Bar(title="documents that repeat another question's", path=("both", "repeated_elsewhere"), most=0.05),
)
"""What the figures of the single-hop questions are held to, on the figure itself; its interval stands beside it."""


def check_bars(single_hop: Mapping[str, Any]) -> list[Figures]:
    """Whether each bar is met by the figures of the single-hop questions; None where there is no figure."""
    checked = []
    for bar in BARS:
        figure = _at(single_hop, bar.path)
        value = figure["value"]
        met = None
        if value is not None:
            met = (bar.least is None or value >= bar.least) and (bar.most is None or value <= bar.most)
        row = {"title": bar.title, "met": met, "least": bar.least, "most": bar.most, "figure": figure}
        checked.append(row | ({"of_all": _at(single_hop, bar.beside)} if bar.beside else {}))
    return checked


def _at(figures: Mapping[str, Any], path: Sequence[str]) -> Figures:
    found: Any = figures
    for name in path:
        found = found[name]
    return dict(found)
