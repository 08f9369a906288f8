"""A run's `report.html`: curves, before and after, sampled trajectories and settings, in one file without a network.

`folder` reads what a run has left so far; `charts`, `measures`, `episodes` and `settings` draw a part of the page each;
`page` puts them together and writes the file. Every text from a file goes through `markup.text`, and the page's
Content-Security-Policy allows the one style and the one script that are shipped here, and nothing else.

Importing this package imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.report_html.page import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    """Load the page only once it is asked for, so that the command line's `--help` is quick."""
    if name in __all__:
        from agents.report_html import page

        return getattr(page, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
