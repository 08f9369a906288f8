"""The page of a run, put together and written: `report.html`, one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from agents.report_html.charts import curves
from agents.report_html.episodes import episodes
from agents.report_html.folder import RunRecord, read_run
from agents.report_html.markup import clip, number, setting, text
from agents.report_html.measures import measures
from agents.report_html.noted import alarms, events, workers
from zs_env.files import write_text

__all__ = ["REPORT_FILE", "render_report", "write_report"]

REPORT_FILE = "report.html"
"""The page's name in a run's folder."""

_MAX_KEYS = 200  # of one section of settings


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run's folder, whole or not at all, from what the run has left there so far.

    Args:
        run_folder: The folder of a run that trains, has finished or has died.

    Returns:
        The page's path.

    Raises:
        ConfigError: The folder is none of a run, or a file in it is broken; the message names file and line.
    """
    page = render_report(read_run(run_folder))
    path = run_folder / REPORT_FILE
    write_text(path, page)
    return path


def render_report(run: RunRecord) -> str:
    """The page, as HTML.

    Its Content-Security-Policy lets through the style and the script that are shipped beside this file, by their
    hashes, and nothing else: no network, no image, no frame, no form.
    """
    style, script = _shipped("page.css"), _shipped("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    name = text(clip(run.name, 200)[0])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{name}: training report</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#main">Skip to the content</a>\n{_header(run, name)}\n<main id="main">\n'
        f'<section id="results" aria-labelledby="results-title"><h2 id="results-title">Before and after</h2>\n'
        f"{_results(run)}</section>\n"
        f'<section id="curves" aria-labelledby="curves-title"><h2 id="curves-title">Curves</h2>\n'
        f"{_curves(run)}</section>\n"
        f'<section id="episodes" aria-labelledby="episodes-title"><h2 id="episodes-title">Episodes</h2>\n'
        f"{_episodes(run)}</section>\n"
        f'<section id="settings" aria-labelledby="settings-title"><h2 id="settings-title">Settings</h2>\n'
        f"{_settings(run)}</section>\n"
        f"</main>\n<footer>Made by ZeroSearch for everyone from the files beside it.</footer>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


@cache
def _shipped(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")


def _header(run: RunRecord, name: str) -> str:
    facts = {"algorithm": text(clip(run.algorithm, 80)[0]), "seed": number(run.seed), "state": _state(run)}
    for level, title in (("noise_0", "exact match, no noise"), ("noise_0.5", "exact match, noise 0.5")):
        scores = [record.get(level, {}).get("em_greedy") for record in (run.before, run.after) if record.get(level)]
        if scores:
            facts[title] = " → ".join(number(score) for score in scores)
    seconds = run.summary.get("seconds")
    if isinstance(seconds, dict) and "total" in seconds:
        facts["time"] = _duration(seconds["total"])
    glance = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in facts.items())
    places = {"results": "Before and after", "curves": "Curves", "episodes": "Episodes", "settings": "Settings"}
    links = "".join(f'<li><a href="#{place}">{title}</a></li>' for place, title in places.items())
    return (
        f'<header><p class="eyebrow">Training report</p><h1><bdi>{name}</bdi></h1>\n<dl class="glance">{glance}</dl>\n'
        f"{alarms(run.alarms)}{events(run.events)}{_missing(run)}"
        f'<nav aria-label="Parts of this page"><ul>{links}</ul></nav></header>'
    )


def _state(run: RunRecord) -> str:
    done = max(run.metrics) + 1 if run.metrics else 0
    total = run.total_steps
    of = "" if total is None else f" of {total:,}"
    if run.finished:
        return f"finished{f', {total:,} steps' if total is not None else ''}"
    return f"{done:,}{of} steps" if done else f"no step yet{of and f', {of[1:]}'}"


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        return number(seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _missing(run: RunRecord) -> str:
    if not run.missing:
        return ""
    items = "".join(f"<li><code>{name}</code> isn't there: {lack}.</li>" for name, lack in run.missing.items())
    return f'<section class="box"><h2>Not there yet</h2><ul>{items}</ul></section>'


def _results(run: RunRecord) -> str:
    if not run.before and not run.after:
        return '<p class="note">Nothing has been measured yet.</p>'
    return measures(run.before, run.after)


def _curves(run: RunRecord) -> str:
    if not any(run.metrics.values()):
        return '<p class="note">No training step has been logged yet.</p>'
    drawn = curves(run.metrics, [*run.alarms, *run.events])
    return (
        '<p class="note">The faint line is each step, the strong one its moving average. Point at a curve, touch it or '
        "move the slider to read all of them at a step; the numbers are below each group.</p>\n"
        '<div id="reader" hidden><label for="reader-step">Read at</label><input id="reader-step" type="range" min="0" '
        f'max="0" value="0"><output for="reader-step"></output></div>\n{drawn}'
    )


def _episodes(run: RunRecord) -> str:
    if not run.steps:
        return '<p class="note">No episodes have been saved yet.</p>'
    note = ""
    if run.num_steps_saved > len(run.steps):
        note = (
            f'<p class="note">Episodes of {len(run.steps)} of the {run.num_steps_saved:,} steps that have some; all '
            "are in trajectories.jsonl.</p>"
        )
    return note + episodes(run.steps)


def _settings(run: RunRecord) -> str:
    sections = {name: section for name, section in run.config.items() if isinstance(section, Mapping)}
    loose = {name: value for name, value in run.config.items() if name not in sections}
    if loose:
        sections["other"] = loose
    tables = [_table(name, section) for name, section in list(sections.items())[:_MAX_KEYS]]
    for name in ("fingerprints", "machine", "seconds"):
        record = run.summary.get(name)
        if isinstance(record, Mapping) and record:
            # Settings are shown as they are; seconds to a tenth.
            shown = {key: round(value, 1) if isinstance(value, float) else value for key, value in record.items()}
            tables.append(_table(name, shown))
    if not tables:
        return '<p class="note">No settings are there to show.</p>'
    processes = workers(run.workers) if run.workers else ""
    return f'<div class="settings">{"".join(tables)}</div>{processes}'


def _table(title: str, record: Mapping[str, Any]) -> str:
    rows = list(_flat(record))
    shown = "".join(
        f'<tr><th scope="row">{text(clip(key, 120)[0]).replace("_", "_<wbr>")}</th><td>{setting(value)}</td></tr>'
        for key, value in rows[:_MAX_KEYS]
    )
    more = f'<p class="note">{len(rows) - _MAX_KEYS:,} more.</p>' if len(rows) > _MAX_KEYS else ""
    return f"<section><h3>{text(clip(title, 80)[0])}</h3><table><tbody>{shown}</tbody></table>{more}</section>"


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values, those of a mapping within it by their path."""
    for key, value in record.items():
        if isinstance(value, Mapping) and value and not prefix:
            yield from _flat(value, f"{key}.")
        else:
            yield f"{prefix}{key}", value
