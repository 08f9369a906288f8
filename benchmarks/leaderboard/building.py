"""From records to the board: the table in Markdown and the page, so that anyone can make both again.

What is written depends on the records and the published rows alone: no date of building, no machine, no order of
files. So equal records give equal bytes, and a check can tell a page that a hand, or nobody, has touched.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["build_board", "check_board"]


def build_board(records_folder: Path, markdown_path: Path, page_folder: Path) -> None:
    """Write the board of all records: a Markdown table, and a page that opens from a file.

    Args:
        records_folder: Holds one folder a record; it may be empty, or not be there.
        markdown_path: The Markdown file to write.
        page_folder: Gets `index.html` and `episodes/<slug>.js`, one a record; what else it held is gone afterwards.

    Raises:
        ConfigError: A record can't be read; the message names it.
    """
    raise NotImplementedError


def check_board(records_folder: Path, markdown_path: Path, page_folder: Path) -> list[str]:
    """What a new build would change, one line a file; empty if the board is what its records say."""
    raise NotImplementedError
