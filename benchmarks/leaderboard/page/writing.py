"""The page put together: the shipped markup, styles and scripts, and the board as data.

What comes from records enters the page as JSON in a data block, never as markup, and the scripts only make text nodes
of it. The Content-Security-Policy lets through the one style and the one script that are shipped, by their hashes, and
scripts from the page's own place, which is where transcripts are: no network, no image, no frame, no form.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.leaderboard.published import PublishedRow
from benchmarks.leaderboard.standing import Group, Row

__all__ = ["render_episodes", "render_page"]

_STYLES = ("base.css", "board.css", "sheet.css")
_SCRIPTS = (
    "text.js",
    "dom.js",
    "state.js",
    "columns.js",
    "filters.js",
    "table.js",
    "chosen.js",
    "plot.js",
    "loading.js",
    "record.js",
    "compare.js",
    "question.js",
    "asides.js",
    "main.js",
)


def render_page(groups: Sequence[Group], published: Sequence[PublishedRow]) -> str:
    """`index.html`, which opens from a file as from a server."""
    style = "".join(_shipped(name) for name in _STYLES)
    script = '"use strict";\n' + "".join(_shipped(name) for name in _SCRIPTS)
    # A page from a file is an origin of its own in some browsers, for which 'self' is nothing: `file:` stands for it.
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}' 'self' file:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>ZeroSearch leaderboard</title>\n<style>{style}</style>\n</head>\n<body>\n{_shipped('shell.html')}"
        f'<script type="application/json" id="data">{_data(_board(groups, published))}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def render_episodes(slug: str, packed: bytes) -> str:
    """A script that hands a record's own `episodes.jsonl.gz`, byte for byte, to the page that asked for it."""
    return f"boardEpisodes({_data(slug)},{_data(base64.b64encode(packed).decode('ascii'))});\n"


def _board(groups: Sequence[Group], published: Sequence[PublishedRow]) -> dict[str, Any]:
    return {
        "groups": [
            {
                "id": group.id,
                "title": group.title,
                "sets": list(group.sets),
                "rows": [_row(row) for row in group.rows],
                "pairs": {" ".join(slugs): pair for slugs, pair in group.pairs.items()},
            }
            for group in groups
        ],
        "published": [asdict(row) for row in published],
    }


def _row(row: Row) -> dict[str, Any]:
    placed = {
        "slug": row.slug,
        "rank": row.rank,
        "unranked": row.unranked,
        "tie": row.tie,
        "gap": row.gap,
        "apart": row.apart,
    }
    return placed | {"record": row.record.content}


def _data(value: Mapping[str, Any] | str) -> str:
    """JSON that ends no script and opens no tag, whatever text is in it."""
    # ASCII alone: no line separator or lone surrogate stands in the file as itself.
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


@cache
def _shipped(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
