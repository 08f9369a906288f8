"""The measured costs as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers.measuring import StepCost, TurnCost
from zs_env.errors import ConfigError

__all__ = ["MARKS", "NOTES", "record_lines", "step_table", "turn_summary", "turn_table", "write_between"]

MARKS = ("<!-- throughput: begin -->", "<!-- throughput: end -->")

NOTES = (
    "Documents are the same five for all. Theirs show them as they are. Ours escapes tags in them, draws each search's "
    "quality, and looks in each for the golden answers, wherever it plays.",
    "In a search turn our vector step and rollouts ask a simulator: they write a prompt, read documents from the "
    "model's text, and check them against the golden answers and each other. Theirs, and ours in the way called "
    "retrieval, ask a retrieval server, which sends documents as JSON (GEM: msgpack), and check nothing.",
    "Read a step: ours, and GEM's but where it says new text only, show the whole transcript; SkyRL-gym's shows what "
    "is new.",
    "GEM's tool opens a connection for each search, so its turns are cold in both halves of the table. It gives up "
    "after 5 s, and tells the policy so; SkyRL-gym's tries ten times.",
    "GEM's SyncVectorEnv and SkyRL-gym without workers search one after the other: episodes × latency, not measured.",
)
"""What isn't equal, and what isn't measured."""


def step_table(rows: Sequence[StepCost]) -> list[str]:
    """Steps whose searches cost nothing, a line each."""
    lines = ["| library | way | a step | least to most | × ours | read a step |", "|---|---|---|---|---|---|"]
    for row in rows:
        least, most = row.step_us_range
        lines.append(
            f"| {row.side} | {row.way} | {row.step_us:.1f} µs | {least:.1f} to {most:.1f} | {_ratio(row)} "
            f"| {row.characters:,.0f} characters |"
        )
    return lines


def turn_table(rows: Sequence[TurnCost]) -> list[str]:
    """Search turns, a line each, and a line for each that wasn't as it should be."""
    lines = [
        "| episodes | connections | library | way | median | least to most | × latency | × ours | processor time "
        "| requests | in flight | opened | read |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        least, most = row.requests
        lines.append(
            f"| {row.episodes:,} | {row.connections} | {row.side} | {row.way} | {row.median_s * 1000:.0f} ms "
            f"| {row.range_s[0] * 1000:.0f} to {row.range_s[1] * 1000:.0f} | {row.latencies:.1f} | {_ratio(row)} "
            f"| {row.cpu_ms:.0f} ms | {least if least == most else f'{least} to {most}'} | {row.peak_in_flight} "
            f"| {row.connections_opened} | {row.read} |"
        )
    lines += [
        f"\nNot one request and its documents an episode: {row.side}, {row.way}, {row.episodes} episodes, "
        f"{row.connections}. {row.read} read their documents; one read instead: {row.said!r}"
        for row in rows
        if not row.as_it_should
    ]
    return lines


def turn_summary(rows: Sequence[TurnCost]) -> list[str]:
    """Search turns, a line a way and a column a number of episodes."""
    numbers = list(dict.fromkeys(row.episodes for row in rows))
    lines = [
        "| library | way | connections | " + " | ".join(f"{number:,} episodes" for number in numbers) + " |",
        "|---|---|---|" + "---|" * len(numbers),
    ]
    cells: dict[tuple[str, str, str], dict[int, str]] = {}
    for row in rows:
        cell = f"{row.latencies:.1f} ({row.ratio:.2f})" + ("" if row.as_it_should else f", {row.read} read")
        cells.setdefault((row.side, row.way, row.connections), {})[row.episodes] = cell
    return lines + [
        f"| {' | '.join(key)} | {' | '.join(cell.get(number, '—') for number in numbers)} |"
        for key, cell in cells.items()
    ]


def record_lines(record: Mapping[str, Any]) -> list[str]:
    """The tables of a record that `--json` wrote.

    Raises:
        ConfigError: It is another record.
    """
    if record.get("schema") != "zerosearch.throughput/2":
        raise ConfigError(
            f"This is a record of schema {record.get('schema')!r}; one of 'zerosearch.throughput/2' is wanted, as "
            "`throughput --json` writes it."
        )
    steps = [StepCost(**row) for row in record["steps"]]
    turns = [TurnCost(**{key: value for key, value in row.items() if key != "as_it_should"}) for row in record["turns"]]
    for number, turn in enumerate(turns):  # JSON has no tuples
        turns[number] = replace(turn, requests=(turn.requests[0], turn.requests[1]))
    return [*step_table(steps), "", *turn_summary(turns)]


def write_between(file: Path, lines: Sequence[str], *, marks: tuple[str, str] = MARKS) -> None:
    """Put lines between two marks of a document, in place of what is there.

    Raises:
        ConfigError: The document doesn't have both.
    """
    text = file.read_text(encoding="utf-8")
    before, first, rest = text.partition(marks[0])
    _, second, after = rest.partition(marks[1])
    if not first or not second:
        raise ConfigError(f"{file.name} doesn't hold the marks {marks[0]} and {marks[1]}, between which tables go.")
    file.write_text("\n".join([before + first, *lines, second + after]), encoding="utf-8")


def _ratio(row: StepCost | TurnCost) -> str:
    return f"{row.ratio:.2f} ({row.ratio_range[0]:.2f} to {row.ratio_range[1]:.2f})"
