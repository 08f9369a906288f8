"""The curves of a run in groups: each with its definition and its last value, and with all numbers in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.metrics import METRICS
from agents.report_html.folder import Alarm, Event, spread
from agents.report_html.markup import clip, exact_number, text
from agents.report_html.plot import BIGGEST, HEIGHT, WIDTH, drawing

__all__ = ["curves"]

_GROUPS: dict[str, tuple[str, ...]] = {
    "Outcome": ("reward_mean", "exact_match", "f1"),
    "Behaviour": (
        "searches_per_episode",
        "turns_per_episode",
        "answered_share",
        "invalid_share",
        "out_of_turns_share",
        "out_of_tokens_share",
        "policy_tokens",
        "episode_tokens",
    ),
    "Learning": (
        "loss",
        "grad_norm",
        "entropy",
        "kl",
        "clip_fraction",
        "ratio_mean",
        "ratio_max",
        "logprob_difference",
        "staleness",
        "learning_rate",
    ),
    "Critic": (
        "value_loss",
        "explained_variance",
        "value_mean",
        "return_mean",
        "value_grad_norm",
        "value_clip_fraction",
        "critic_learning_rate",
    ),
    "Noise": ("noise_probability", "noisy_share", "supports_query_share"),
    "Time": ("step_s", "rollout_s", "generate_s", "search_s", "update_s"),
}

_MAX_CURVES = 100  # of metrics in no other group
_MAX_VALUE = 20  # of a critic's
_MAX_ROWS = 250  # of a table of numbers


def curves(metrics: Mapping[int, Mapping[str, float]], noted: Sequence[Alarm | Event]) -> str:
    """All curves in their groups, each group with its numbers in a table.

    Args:
        metrics: Step to metric to value, by step.
        noted: Marked at their steps.
    """
    names = {name for row in metrics.values() for name in row}
    groups = {title: [name for name in members if name in names] for title, members in _GROUPS.items()}
    known = {name for members in groups.values() for name in members}
    groups["Critic"] += sorted(name for name in names - known if name.startswith("value"))[:_MAX_VALUE]
    grouped = {name for members in groups.values() for name in members}
    more = [name for name in METRICS if name in names - grouped] + sorted(names - grouped - set(METRICS))
    groups["More"] = more[:_MAX_CURVES]
    parts = [_group(title, members, metrics, noted) for title, members in groups.items() if members]
    if len(more) > _MAX_CURVES:
        parts.append(f"<p>{len(more) - _MAX_CURVES:,} more metrics are in metrics.jsonl and not drawn here.</p>")
    return "\n".join(parts)


def _group(
    title: str, names: Sequence[str], metrics: Mapping[int, Mapping[str, float]], noted: Sequence[Alarm | Event]
) -> str:
    slug = title.lower()
    steps = (min(metrics), max(metrics))
    figures = "\n".join(
        _figure(name, {step: row[name] for step, row in metrics.items() if name in row}, steps, noted) for name in names
    )
    return (
        f'<section class="group" aria-labelledby="group-{slug}"><h3 id="group-{slug}">{title}</h3>\n'
        f'<div class="grid">\n{figures}\n</div>\n{_numbers(title, names, metrics)}</section>'
    )


def _numbers(title: str, names: Sequence[str], metrics: Mapping[int, Mapping[str, float]]) -> str:
    steps = list(metrics)
    shown = [steps[index] for index in spread(len(steps), _MAX_ROWS)]
    head = "".join(f'<th scope="col">{_name(name)}</th>' for name in names)
    rows = []
    for step in shown:
        row = metrics[step]
        cells = "".join(f"<td>{exact_number(row[name]) if name in row else '–'}</td>" for name in names)
        rows.append(f'<tr><th scope="row">{step}</th>{cells}</tr>')
    note = f" ({len(shown)} of {len(steps):,} steps; all are in metrics.jsonl)" if len(shown) < len(steps) else ""
    return (
        f"<details class='numbers'><summary>{title} in numbers{note}</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title} in numbers"><table class="figures"><thead>'
        f'<tr><th scope="col">step</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></details>'
    )


def _name(name: str) -> str:
    return text(clip(name, 80)[0])


def _figure(name: str, values: Mapping[int, float], steps: tuple[int, int], noted: Sequence[Alarm | Event]) -> str:
    definition = METRICS.get(name)
    drawn = {step: value for step, value in values.items() if abs(value) <= BIGGEST}
    left_out = len(values) - len(drawn)
    last_step = max(values)
    note = ""
    if left_out:
        note = (
            f"<p class='warning'>{left_out:,} value{'s' * (left_out != 1)} not drawn: not finite, or beyond 1e30.</p>"
        )
    span = "no finite value"
    if drawn:
        lowest, highest = min(drawn.values()), max(drawn.values())
        span = f"from {exact_number(lowest)} to {exact_number(highest)}"
    label = f"{name}, steps {steps[0]} to {steps[1]}: {span}, last {exact_number(values[last_step])}"
    return (
        f'<figure class="curve"><figcaption><strong>{_name(name)}</strong>'
        f'<output class="value"><b>{exact_number(values[last_step])}</b> <span>step {last_step}</span></output>'
        f'<p class="definition">{text(definition) if definition else "no definition"}</p>{note}</figcaption>\n'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(clip(label, 300)[0])}">'
        f"{drawing(values, steps, noted)}</svg></figure>"
    )
