"""Which kind of engine a search mode is: that is what the gap from simulated to real is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

__all__ = ["CLOSED_BOOK", "Kind", "kind_of"]

Kind = Literal["closed-book", "simulated", "real", "mixed"]

CLOSED_BOOK = "closed-book"
"""The search mode whose searches find nothing."""

_KINDS: Mapping[str, Kind] = {
    CLOSED_BOOK: "closed-book",
    "template": "simulated",
    "simulate_prompt": "simulated",
    "simulate_sft": "simulated",
    "bm25": "real",
    "dense": "real",
    "wiki": "real",
    "google": "real",
}


def kind_of(search_mode: str | None) -> Kind:
    """Which kind of engine a search mode is; "mixed" is neither: a hybrid, hostile documents, a mode of one's own.

    Examples:
        >>> kind_of("bm25"), kind_of("hybrid")
        ('real', 'mixed')
    """
    return _KINDS.get(search_mode or "", "mixed")
