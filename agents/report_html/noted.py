"""What a run noted beside its numbers: alarms, what happened to its processes, and who these were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.report_html.folder import Alarm, Event
from agents.report_html.markup import clip, text

__all__ = ["alarms", "events", "workers"]

_MAX_NOTED = 50
_MAX_WORKERS = 256
_COLUMNS = {"role": "role", "rank": "number", "pid": "process", "gpus": "GPUs", "threads": "threads"}


def alarms(found: Sequence[Alarm]) -> str:
    """A box of all alarms, or one that says that there are none."""
    if not found:
        return '<section class="box calm"><h2>No alarm</h2></section>'
    title = f"⚠ {len(found):,} alarm{'s' * (len(found) != 1)}"
    return f'<section class="box alarms"><h2>{title}</h2>{_items(found, "alarms.jsonl")}</section>'


def events(found: Sequence[Event]) -> str:
    """A box of what happened to processes; nothing if nothing did."""
    if not found:
        return ""
    title = f"{len(found):,} event{'s' * (len(found) != 1)} of processes"
    return f'<section class="box events"><h2>{title}</h2>{_items(found, "events.jsonl")}</section>'


def _items(found: Sequence[Alarm | Event], file: str) -> str:
    items = []
    for one in found[:_MAX_NOTED]:
        where = "" if one.step is None else f"step {one.step}, "
        message, left_out = clip(one.message, 1000)
        kind = text(clip(one.kind, 60)[0].replace("_", " "))
        items.append(f"<li><b>{where}{kind}:</b> <bdi>{text(message)}</bdi>{' …' * bool(left_out)}</li>")
    if len(found) > _MAX_NOTED:
        items.append(f"<li>{len(found) - _MAX_NOTED:,} more are in {file}.</li>")
    return f"<ul>{''.join(items)}</ul>"


def workers(found: Sequence[Mapping[str, Any]]) -> str:
    """A table of processes, one a row."""
    head = "".join(f'<th scope="col">{title}</th>' for title in _COLUMNS.values())
    rows = "".join(
        f"<tr>{''.join(f'<td>{_cell(worker.get(key))}</td>' for key in _COLUMNS)}</tr>"
        for worker in found[:_MAX_WORKERS]
    )
    more = ""
    if len(found) > _MAX_WORKERS:
        more = f'<p class="note">{len(found) - _MAX_WORKERS:,} more are in summary.json.</p>'
    return (
        '<section><h3>processes</h3><div class="scroll" tabindex="0" role="region" aria-label="processes">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{more}</section>"
    )


def _cell(value: Any) -> str:
    return "–" if value is None else text(clip(value, 80)[0])
