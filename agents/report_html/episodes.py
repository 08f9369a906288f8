"""Sampled episodes: who wrote each part, what every search drew, and what came of it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from agents.report_html.folder import StepEpisodes
from agents.report_html.markup import clip, number, text
from agents.trajectory import SearchRecord, TokenSegment, Trajectory

__all__ = ["episodes"]

_MAX_EPISODE_CHARS = 12_000
_MAX_SEGMENT_CHARS = 4_000
_MAX_SEGMENTS = 60
_MAX_SHORT = 300  # of a question, an answer, a query, an error
_MAX_GOLDEN = 10

_WRITERS = ("prompt", "policy", "environment")
_TAG = re.compile(r"(&lt;/?(?:think|search|answer|information)&gt;)")
_OUTCOMES = {"right": "✓ right", "wrong": "✗ wrong", "failed": "! failed"}


def episodes(steps: Sequence[StepEpisodes]) -> str:
    """A filter, and the episodes by step."""
    shown = [trajectory for step in steps for trajectory in step.episodes]
    counts = {name: sum(_outcome(trajectory) == name for trajectory in shown) for name in _OUTCOMES}
    noisy = sum(_has_noisy(trajectory) for trajectory in shown)
    choices = [("all", len(shown)), *counts.items()]
    radios = "".join(
        f'<label><input type="radio" name="outcome" id="only-{name}"{" checked" * (name == "all")}> {name} ({count})'
        "</label>"
        for name, count in choices
    )
    keys = "".join(f'<span class="key {writer}">the {writer}</span> ' for writer in _WRITERS)
    parts = [
        '<form class="filter"><fieldset><legend>Show</legend>'
        f'{radios}<label><input type="checkbox" id="only-noisy"> with a noisy search ({noisy})</label></fieldset>'
        '<p class="none" role="status">No episode is like that.</p></form>',
        f'<p class="legend">Written by {keys}What the policy wrote is trained on, and nothing else.</p>',
    ]
    for index, step in enumerate(steps):
        parts.append(_step(step, is_last=index == len(steps) - 1))
    return "\n".join(parts)


def _step(step: StepEpisodes, *, is_last: bool) -> str:
    title = "No step told" if step.step is None else f"Step {step.step}"
    right = sum(_outcome(trajectory) == "right" for trajectory in step.episodes)
    note = f"{right} of {len(step.episodes)} right"
    if step.num_saved > len(step.episodes):
        note += f"; {step.num_saved - len(step.episodes):,} more are in trajectories.jsonl"
    shown = "\n".join(
        _episode(trajectory, is_open=is_last and index == 0) for index, trajectory in enumerate(step.episodes)
    )
    return f'<section class="step"><h3>{title} <small>{note}</small></h3>\n{shown}</section>'


def _outcome(trajectory: Trajectory) -> str:
    if trajectory.failed:
        return "failed"
    return "right" if trajectory.exact_match == 1 else "wrong"


def _has_noisy(trajectory: Trajectory) -> bool:
    return any(search.quality == "noisy" for search in trajectory.searches)


def _short(value: object) -> str:
    kept, left_out = clip(value, _MAX_SHORT)
    return text(kept) + (f" … ({left_out:,} more characters)" if left_out else "")


def _episode(trajectory: Trajectory, *, is_open: bool) -> str:
    outcome = _outcome(trajectory)
    noisy = " noisy" * _has_noisy(trajectory)
    searches = len(trajectory.searches)
    badges = f'<span class="badge {outcome}">{_OUTCOMES[outcome]}</span>'
    draws = [text(search.quality) for search in trajectory.searches[:6]] + ["…"] * (searches > 6)
    told = f"reward {number(trajectory.reward)} · " + (
        f"{searches} search{'es' * (searches != 1)}: {', '.join(draws)}" if searches else "no search"
    )
    return (
        f'<details class="episode {outcome}{noisy}"{" open" * is_open}><summary>{badges}'
        f'<bdi class="question">{_short(trajectory.question)}</bdi><span class="told">{told}</span></summary>'
        f'<div class="body">{_facts(trajectory)}{_transcript(trajectory)}</div></details>'
    )


def _facts(trajectory: Trajectory) -> str:
    golden = [f"<bdi>{_short(answer)}</bdi>" for answer in trajectory.golden_answers[:_MAX_GOLDEN]]
    if len(trajectory.golden_answers) > _MAX_GOLDEN:
        golden.append(f"{len(trajectory.golden_answers) - _MAX_GOLDEN:,} more")
    facts = {
        "answer": "–" if trajectory.answer is None else f"<bdi>{_short(trajectory.answer)}</bdi>",
        "golden answers": " · ".join(golden) or "–",
        "status": text(str(trajectory.status).replace("_", " ")),
        "reward": number(trajectory.reward),
        "F1": number(trajectory.f1),
        "hops": number(trajectory.hops),
        "chance of noise": number(trajectory.noise_probability, 2),
        "question": f"<bdi>{_short(trajectory.question_id)}</bdi>",
        "weights": f"version {number(trajectory.weight_version)}",
    }
    if trajectory.error is not None:
        facts["error"] = f"<bdi>{_short(trajectory.error)}</bdi>"
    return '<dl class="facts">' + "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts.items()) + "</dl>"


def _transcript(trajectory: Trajectory) -> str:
    parts: list[str] = []
    room, turn, told = _MAX_EPISODE_CHARS, 0, 0
    for index, segment in enumerate(trajectory.segments):
        if room <= 0 or index == _MAX_SEGMENTS:
            rest = trajectory.segments[index:]
            characters = sum(len(str(left.text)) for left in rest)
            parts.append(
                f'<p class="note">{len(rest)} more part{"s" * (len(rest) != 1)} of {characters:,} characters left out.'
                "</p>"
            )
            break
        shown, left_out = clip(segment.text, min(room, _MAX_SEGMENT_CHARS))
        room -= len(shown)
        parts.append(_segment(segment, shown, left_out))
        if segment.provenance == "policy":
            turn += 1  # each action is one segment of the policy's
            found = [search for search in trajectory.searches if search.turn == turn]
            told += len(found)
            parts += [_search(search) for search in found[:4]]
    if told < len(trajectory.searches) and not trajectory.segments:
        parts += [_search(search) for search in trajectory.searches[:8]]
    return f'<div class="transcript">{"".join(parts)}</div>'


def _segment(segment: TokenSegment, shown: str, left_out: int) -> str:
    writer = segment.provenance if segment.provenance in _WRITERS else "unknown"
    about = f"{len(segment.ids):,} token{'s' * (len(segment.ids) != 1)}"
    if segment.logprobs:
        mean = sum(segment.logprobs) / len(segment.logprobs)
        if math.isfinite(mean) and mean <= 0:
            about += f" · mean log-prob {number(mean)} (probability {number(math.exp(mean), 2)} a token)"
    # Text is escaped before tags are marked, so nothing but our own marks is markup.
    marked = _TAG.sub(r'<span class="tag">\1</span>', text(shown.strip("\n")))
    cut = f'<p class="note">{left_out:,} more characters left out.</p>' if left_out else ""
    return (
        f'<div class="segment {writer}"><div class="writer"><b>{writer}</b> <span>{about}</span></div>'
        f"<pre><bdi>{marked}</bdi></pre>{cut}</div>"
    )


def _search(search: SearchRecord) -> str:
    quality = "noisy" if search.quality == "noisy" else "useful"
    supports = "not known" if search.supports_query is None else "yes" if search.supports_query else "no"
    facts = [
        f"drawn with p(noisy) = {number(search.noise_probability, 2)}",
        f"supports the query: {supports}",
        f"contains a golden answer: {'yes' if search.contains_golden else 'no'}",
        f"documents: {number(search.num_documents)}, by <bdi>{_short(search.engine)}</bdi>",
    ]
    facts += [label for label, holds in (("cut by a budget", search.cut), ("from a cache", search.cached)) if holds]
    if search.error is not None:
        facts.append(f'<span class="warning">failed: <bdi>{_short(search.error)}</bdi></span>')
    return (
        f'<div class="draw {quality}"><b>search {number(search.turn)} · {quality}</b> <bdi class="query">'
        f"{_short(search.query)}</bdi><ul>{''.join(f'<li>{fact}</li>' for fact in facts)}</ul></div>"
    )
