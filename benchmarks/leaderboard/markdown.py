"""The board as Markdown: the same rows and ranks as the page's, for whoever reads the documents or the repository."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.leaderboard.published import PublishedRow
from benchmarks.leaderboard.standing import Group, Row

__all__ = ["PAGE_HEAD", "render_markdown"]

PAGE_HEAD = """# Leaderboard: the table

This page is written by `python -m benchmarks leaderboard build` from the records in `benchmarks/results/leaderboard`;
nothing in it is typed in. [The board as a page](board/index.html) has the same rows, sorts and filters them, compares
two and opens each question's transcript.

Figures are per cent, with the 95 % interval of exact match (EM) in brackets; EM, F1 and the rest are the mean of the
sets. Rows are ranked by EM within one table, whose rows answered the very same questions; rows of two tables can't be
compared. Ranks run across engines, so a row's place is its policy's and its engine's together: compare policies on one
engine. ≈ marks a row that a paired test can't tell from the row above. Rows without a rank are bounds, which are no
policies, or partial. *Gap* is EM on a real engine less EM on a simulated one, and *search adds* EM on a real engine
less closed-book, of the same policy. Searches, tokens, seconds and cost are of a question.

"""

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|-])")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]+")
_MOST = 120  # characters of a text from a record


def render_markdown(groups: Sequence[Group], published: Sequence[PublishedRow]) -> str:
    """All groups, then what others published, as one page."""
    parts = [_group(group) for group in groups] or ["There is no record yet.\n"]
    tables = dict.fromkeys(row.table for row in published)
    if tables:
        parts.append(
            "## Published by others\n\n"
            "These figures are as their authors print them: of other models, prompts and servers, "
            "and\nof other draws of questions. They were not measured here and are ranked with nothing.\n"
        )
    parts += [_published([row for row in published if row.table == table]) for table in tables]
    return PAGE_HEAD + "\n".join(parts)


def _group(group: Group) -> str:
    names = [each["name"] for each in group.sets]
    about = ", ".join(f"{_text(each['name'])} ({each['n']:,})" for each in group.sets)
    heads = ["", "policy", "trained on", "engine", "EM"]
    heads += [*map(_text, names)] if len(names) > 1 else []
    heads += ["F1", "contains", "unanswered", "searches", "tokens", "seconds", "cost", "gap", "search adds", "state"]
    rows = [_row(row, names if len(names) > 1 else []) for row in group.rows]
    return f"## {_text(group.title)}\n\nQuestions of {about}.\n\n{_table(heads, rows)}"


def _row(row: Row, names: Sequence[str]) -> list[str]:
    content = row.record.content
    told, macro = content["row"], content["macro"]
    sets = {each["name"]: each["metrics"] for each in content["sets"]}
    rank = "–" if row.rank is None else f"{row.rank}{' ≈' if row.tie else ''}"
    em = macro["em"]
    shown = "–" if em is None else f"**{_percent(em['value'])}** ({_percent(em['ci'][0])}–{_percent(em['ci'][1])})"
    tokens = None if macro["prompt_tokens"] is None else macro["prompt_tokens"] + macro["completion_tokens"]
    gap = row.gap or {}
    state = "bound" if row.unranked == "bound" else content["state"]
    return [
        rank,
        _text(told["policy"]) + ("" if told["policy"].endswith(told["agent"]) else f", {_text(told['agent'])}"),
        _text(told["train_engine"]),
        _engine(row),
        shown,
        *(_value(sets[name]["em"]) for name in names),
        *(_value(macro[name]) for name in ("f1", "containment")),
        _percent(macro["unanswered"]),
        _number(macro["searches"]),
        _number(tokens),
        _number((macro["seconds"] or {}).get("mean")),
        _number((macro["cost"] or {}).get("value")),
        *(_points(gap.get(name)) for name in ("gap", "gain")),
        state if not content["num_failed"] else f"{state}, {content['num_failed']} failed",
    ]


def _engine(row: Row) -> str:
    """The engine, its kind where the name doesn't tell it, and what tells the row from others of its key."""
    name, kind = row.record.content["row"]["eval_engine"], row.record.content["engine"]["kind"]
    shown = _text(name) if name == kind else f"{_text(name)} ({_text(kind)})"
    return shown + "".join(f", {_text(key.replace('_', ' '))} {_text(value)}" for key, value in row.apart.items())


def _published(rows: Sequence[PublishedRow]) -> str:
    first = rows[0]
    names = list(dict.fromkeys(name for row in rows for name in row.sets))
    heads = ["method", "model", "trained on", "engine", *map(_text, names), "average"]
    digits = max(0, first.decimals - 2)

    def value(share: float | None) -> str:
        return "–" if share is None else f"{100 * share:.{digits}f}"

    cells = [
        [
            *(_text(each or "–") for each in (row.method, row.model, row.train_engine, row.engine)),
            *(value(row.sets.get(name)) for name in names),
            value(row.average),
        ]
        for row in rows
    ]
    notes = [f"- {_text(row.method)}, {_text(row.model)}: {_text(row.note, 600)}" for row in rows if row.note]
    source = f"[{_text(first.source, 300)}]({first.url})" if first.url.startswith("https://") else _text(first.source)
    parts = [
        f"### {_text(first.table)}\n",
        f"Source: {source}. Metric: {_text(first.metric)}, per cent. {_text(first.about, 2000)}\n",
        _table(heads, cells),
    ]
    return "\n".join([*parts, *([*notes, ""] if notes else [])])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _text(value: Any, most: int = _MOST) -> str:
    r"""A text from a record, which is no markup here whatever is in it.

    Examples:
        >>> _text("a|b <script> *c*")
        'a\\|b &lt;script&gt; \\*c\\*'
    """
    whole = _UNSEEN.sub(" ", str(value))
    cut = whole[:most] + ("…" if len(whole) > most else "")
    escaped = html.escape(_MARKUP.sub(r"\\\1", cut), quote=False)
    return re.sub(r"(?<=\w)\\-(?=\w)", "-", escaped)


def _value(score: Mapping[str, Any] | None) -> str:
    return "–" if score is None else _percent(score["value"])


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _points(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return "–"
    low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in difference["ci"])
    return f"{100 * difference['value']:+.1f} ({low} to {high})".replace("-", "−")


def _number(value: float | None) -> str:
    """Examples.

    >>> _number(None), _number(0.0), _number(2.344), _number(1234.4)
    ('–', '0', '2.34', '1,234')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
