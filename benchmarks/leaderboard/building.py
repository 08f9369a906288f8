"""From records to the board: the table in Markdown and the page, so that anyone can make both again.

What is written depends on the records and the published rows alone: no date of building, no machine, no order of
files. So equal records give equal bytes, and a check can tell a page that a hand, or nobody, has touched.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.leaderboard.markdown import render_markdown
from benchmarks.leaderboard.page import render_episodes, render_page
from benchmarks.leaderboard.published import PublishedRow, load_published
from benchmarks.leaderboard.records import EPISODES, Record, read_records
from benchmarks.leaderboard.standing import group_records
from zs_env.files import write_folder, write_text

__all__ = ["build_board", "check_board"]

_AGAIN = "python -m benchmarks leaderboard build"


def build_board(
    records_folder: Path,
    markdown_path: Path,
    page_folder: Path,
    *,
    published: Sequence[PublishedRow] | None = None,
) -> None:
    """Write the board of all records: a Markdown table, and a page that opens from a file.

    Args:
        records_folder: Holds one folder a record; it may be empty, or not be there.
        markdown_path: The Markdown file to write.
        page_folder: Gets `index.html` and `episodes/<slug>.js`, one a record; what else it held is gone afterwards.
        published: Rows of others; by default those that the project ships.

    Raises:
        ConfigError: A record can't be read; the message names it.
    """
    records = read_records(records_folder)
    groups = group_records(records)
    rows = load_published() if published is None else published
    markdown_path.parent.mkdir(parents=True, exist_ok=True)
    write_folder(page_folder, lambda folder: _fill(folder, render_page(groups, rows), records))
    write_text(markdown_path, render_markdown(groups, rows))


def _fill(folder: Path, page: str, records: Sequence[Record]) -> None:
    (folder / "index.html").write_text(page, encoding="utf-8", newline="\n")
    (folder / "episodes").mkdir()
    for record in records:
        script = render_episodes(record.slug, (record.folder / EPISODES).read_bytes())
        (folder / "episodes" / f"{record.slug}.js").write_text(script, encoding="ascii", newline="\n")


def check_board(
    records_folder: Path,
    markdown_path: Path,
    page_folder: Path,
    *,
    published: Sequence[PublishedRow] | None = None,
) -> list[str]:
    """Whether the board is what its records say; whether records are what they say, `validate_record` tells.

    Args:
        records_folder: As for `build_board`.
        markdown_path: The Markdown file that should be what a new build writes.
        page_folder: The page that should be.
        published: As for `build_board`.

    Returns:
        One line a file that a new build would change; empty if there is none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fresh_page, fresh_markdown = Path(scratch) / "page", Path(scratch) / "table.md"
        build_board(records_folder, fresh_markdown, fresh_page, published=published)
        pairs = {markdown_path: fresh_markdown}
        for root in (fresh_page, page_folder):
            for file in sorted(path for path in root.rglob("*") if path.is_file()):
                inside = file.relative_to(root)
                pairs[page_folder / inside] = fresh_page / inside
        return [fault for shown, fresh in pairs.items() if (fault := _fault(shown, fresh)) is not None]


def _fault(shown: Path, fresh: Path) -> str | None:
    if not fresh.exists():
        return f"{shown} is of no record any more: {_AGAIN}."
    if not shown.exists():
        return f"{shown} is missing: {_AGAIN}."
    if shown.read_bytes() != fresh.read_bytes():
        return f"{shown} isn't what the records say: {_AGAIN}."
    return None
