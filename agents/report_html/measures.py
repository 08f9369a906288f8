"""What was measured before and after training, with intervals: tables, and a picture of the exact match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from agents.report_html.markup import clip, number, text

__all__ = ["measures"]

_MAX_LEVELS = 12
_MAX_HOPS = 12
_MAX_ATTACKS = 12
_Z_NOTE = "Intervals are 95 % intervals: Wilson's for a share, Newcombe's for a difference."


def measures(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """One table for each noise level of either measurement.

    Args:
        before: Noise level to record M (see `agents.evaluate.measure`); may be empty.
        after: The same after training; may be empty.
    """
    levels = sorted({*before, *after}, key=_level_order)
    tables = [_table(level, before.get(level), after.get(level)) for level in levels[:_MAX_LEVELS]]
    return f"<p>{_Z_NOTE}</p>\n" + '<div class="tables">' + "\n".join(tables) + "</div>"


def _level_order(level: str) -> tuple[float, str]:
    try:
        return float(level.removeprefix("noise_")), level
    except ValueError:
        return float("inf"), level


def _rows(record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Label to value and interval (either may be empty) of a record M."""
    single = _mapping(record.get("search_again_single_hop"))
    rows = {
        "questions": (number(record.get("n")), ""),
        "exact match, greedy": (number(record.get("em_greedy")), _interval(record.get("em_greedy_ci"))),
    }
    for hops, part in list(_mapping(record.get("em_greedy_by_hops")).items())[:_MAX_HOPS]:
        part = _mapping(part)
        label = f"· {clip(hops, 20)[0]} hop{'s' * (hops != '1')} (n = {number(part.get('n'))})"
        rows[label] = (number(part.get("em")), _interval(part.get("ci")))
    rows |= {
        "exact match, sampled": (number(record.get("em_sampled")), ""),
        "F1, greedy": (number(record.get("f1_greedy")), ""),
        "episodes with an answer": (number(record.get("answered_share")), ""),
        "searches an episode": (number(record.get("searches_per_episode")), ""),
        "searches again after noisy": (number(record.get("search_again_after_noisy")), ""),
        "searches again after useful": (number(record.get("search_again_after_useful")), ""),
        "· one hop, after noisy": (number(single.get("after_noisy")), _count(single.get("n_noisy"))),
        "· one hop, after useful": (number(single.get("after_useful")), _count(single.get("n_useful"))),
        "· one hop, difference": (number(single.get("difference")), _interval(single.get("difference_ci"))),
        "failed, in no number here": (number(record.get("num_failed")), ""),
    }
    if hostile := _mapping(record.get("attack_success")):
        rows["gave a wrong answer that documents pushed"] = (number(hostile.get("share")), _interval(hostile.get("ci")))
        for attack, part in list(_mapping(hostile.get("by_attack")).items())[:_MAX_ATTACKS]:
            part, label = _mapping(part), clip(attack, 20)[0]
            rows[f"· {label}: gave it"] = (number(part.get("share")), _interval(part.get("ci")))
            rows[f"· {label}: exact match"] = (number(part.get("em")), _interval(part.get("em_ci")))
    return rows


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _interval(ends: Any) -> str:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return ""
    return f"{number(ends[0])} to {number(ends[1])}"


def _count(value: Any) -> str:
    return f"n = {number(value)}" if isinstance(value, int) else ""


def _table(level: str, before: Any, after: Any) -> str:
    shown = text(clip(level.removeprefix("noise_"), 40)[0])
    title = "No noise" if shown == "0" else f"Noise {shown}"
    columns = {"before": _rows(_mapping(before)) if before else {}, "after": _rows(_mapping(after)) if after else {}}
    labels = list(dict.fromkeys([*columns["before"], *columns["after"]]))
    rows = []
    for label in labels:
        cells = "".join(_cell(column.get(label)) for column in columns.values())
        rows.append(f'<tr><th scope="row">{text(label)}</th>{cells}</tr>')
    lacking = [name for name, column in columns.items() if not column]
    note = "".join(f'<p class="note">Not measured {name} training yet.</p>' for name in lacking)
    return (
        f"<section><h3>{title}</h3>{note}{_picture(title, before, after)}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}: before and after">'
        '<table class="figures measures"><thead><tr><td></td><th scope="col">before</th><th scope="col">after</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _cell(value: tuple[str, str] | None) -> str:
    if value is None:
        return "<td>–</td>"
    shown, extent = value
    return f"<td>{shown}" + (f"<small>{extent}</small>" if extent and shown != "–" else "") + "</td>"


def _picture(title: str, before: Any, after: Any) -> str:
    """Exact match before and after, overall and by hops, each as a point in its interval, on a scale from 0 to 1."""
    lines: list[tuple[str, str, float, float, float]] = []
    records = {"before": _mapping(before), "after": _mapping(after)}
    hops = list(dict.fromkeys(key for record in records.values() for key in _mapping(record.get("em_greedy_by_hops"))))
    for label, hop in [("all", None), *((f"{clip(hop, 8)[0]} hop{'s' * (hop != '1')}", hop) for hop in hops[:4])]:
        for when, record in records.items():
            part = record if hop is None else _mapping(_mapping(record.get("em_greedy_by_hops")).get(hop))
            share, ends = (
                (part.get("em_greedy"), part.get("em_greedy_ci")) if hop is None else (part.get("em"), part.get("ci"))
            )
            if _is_share(share) and isinstance(ends, list) and len(ends) == 2 and all(_is_share(end) for end in ends):
                lines.append((label, when, share, ends[0], ends[1]))
    if not lines:
        return ""
    height = 24 + 22 * len(lines)
    parts = []
    for tick in range(0, 5):
        x = _x(tick / 4)
        parts.append(f'<line class="rule" x1="{x:.0f}" x2="{x:.0f}" y1="4" y2="{height - 18}"/>')
        parts.append(f'<text x="{x:.0f}" y="{height - 4}" text-anchor="middle">{tick / 4:g}</text>')
    for index, (label, when, share, low, high) in enumerate(lines):
        y = 15 + 22 * index
        parts.append(
            f'<text x="2" y="{y + 4}">{text(label)}, {when}</text>'
            f'<g class="{when}"><title>{text(label)}, {when}: {share:.3f} [{low:.3f}, {high:.3f}]</title>'
            f'<line x1="{_x(low):.1f}" x2="{_x(high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle cx="{_x(share):.1f}" cy="{y}" r="5"/></g>'
        )
    return (
        '<figure class="intervals"><figcaption>Exact match, greedy</figcaption>'
        f'<svg viewBox="0 0 340 {height}" role="img" '
        f'aria-label="{title}: exact match before and after, with intervals; the numbers are in the table">'
        f"{''.join(parts)}</svg></figure>"
    )


def _x(share: float) -> float:
    return 104 + 224 * share


def _is_share(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value <= 1
