"""What a run has left in its folder so far. A run may still train, or may have died at any point."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from agents.trajectory import Trajectory
from zs_env.errors import ConfigError

__all__ = [
    "MAX_EPISODES_PER_STEP",
    "MAX_STEPS_SHOWN",
    "Alarm",
    "Event",
    "RunRecord",
    "StepEpisodes",
    "read_run",
    "spread",
]

MAX_STEPS_SHOWN = 16
"""Episodes of at most so many steps are shown."""

MAX_EPISODES_PER_STEP = 8
"""And at most so many of each."""

_INPUTS: dict[str, str] = {
    "config.json": "the settings are not known",
    "metrics.jsonl": "there are no curves",
    "trajectories.jsonl": "there are no episodes to read",
    "before.json": "what was measured before training is not known",
    "summary.json": "the run has not finished, so nothing was measured after training",
}
"""File to what the page lacks without it."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that training warned of.

    Attributes:
        step: The step that it was seen in; None if it isn't told.
        kind: What it is about, in a word.
        message: What was seen.
    """

    step: int | None
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a process of the run.

    Attributes:
        step: The step that it happened in; None if it was before the first, or isn't told.
        kind: What happened, in a word.
        message: The same in a sentence.
    """

    step: int | None
    kind: str
    message: str


Noted = TypeVar("Noted", Alarm, Event)


@dataclass(frozen=True, slots=True)
class StepEpisodes:
    """The episodes of a training step that are shown.

    Attributes:
        step: The step; None if it isn't told.
        episodes: Those that are shown.
        num_saved: How many the file holds.
    """

    step: int | None
    episodes: list[Trajectory]
    num_saved: int


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """Everything that the page shows.

    Attributes:
        name: The run's name: its folder's.
        config: Section to key to value.
        metrics: Step to metric to value, by step.
        before: Noise level to record M (`agents.evaluate.measure`), before training.
        after: The same after it.
        summary: `summary.json`, whole; empty if the run has not finished.
        alarms: By step.
        events: What happened to processes, by step; only of runs that have several.
        workers: Those processes: role, rank, process id and so on of each.
        steps: Episodes, by step.
        num_steps_saved: How many steps the trajectory file has episodes of.
        missing: What isn't there, and what the page lacks for it.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)
    steps: list[StepEpisodes] = field(default_factory=list)
    num_steps_saved: int = 0
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.summary)

    @property
    def algorithm(self) -> str:
        """The algorithm's name; "?" if the settings don't tell."""
        run = self.config.get("run")
        return str(run.get("algorithm", "?")) if isinstance(run, Mapping) else "?"

    @property
    def seed(self) -> Any:
        """Where all randomness came from; None if it isn't told."""
        run = self.config.get("run")
        return run.get("seed") if isinstance(run, Mapping) else None

    @property
    def total_steps(self) -> int | None:
        """How many steps the run has or wants; None if the settings don't tell."""
        sections = [self.config.get(self.algorithm), *self.config.values()]
        found = [section.get("total_steps") for section in sections if isinstance(section, Mapping)]
        return next((value for value in found if isinstance(value, int)), None)


def read_run(folder: Path) -> RunRecord:
    """Read what is there.

    Raises:
        ConfigError: The folder is none of a run, or a file in it is broken; the message names file and line.
    """
    if not folder.is_dir():
        raise ConfigError(f"{str(folder)!r} is no folder; give a run's, for example runs/quickstart.")
    missing = {name: lack for name, lack in _INPUTS.items() if not (folder / name).is_file()}
    if len(missing) == len(_INPUTS):
        raise ConfigError(f"{str(folder)!r} isn't a run's folder: it has none of {', '.join(_INPUTS)}.")
    summary = _read_object(folder / "summary.json")
    settings = summary.get("settings")
    before = summary.get("before") or _read_object(folder / "before.json")
    if before:
        missing.pop("before.json", None)
    after = summary.get("after") or {}
    for name, record in (("before", before), ("after", after)):
        if not isinstance(record, dict) or not all(isinstance(level, dict) for level in record.values()):
            raise ConfigError(f"{str(folder)!r}: the measurement {name} training is no mapping of noise levels.")
    steps, num_steps_saved = _read_episodes(folder / "trajectories.jsonl")
    return RunRecord(
        name=folder.resolve().name,
        config=_read_object(folder / "config.json") or (settings if isinstance(settings, dict) else {}),
        metrics=_read_metrics(folder / "metrics.jsonl"),
        before=before,
        after=after,
        summary=summary,
        alarms=_read_noted(folder / "alarms.jsonl", summary.get("alarms"), Alarm),
        events=_read_noted(folder / "events.jsonl", summary.get("events"), Event),
        workers=_workers(summary.get("workers")),
        steps=steps,
        num_steps_saved=num_steps_saved,
        missing=missing,
    )


def spread(count: int, most: int) -> list[int]:
    """At most so many of `range(count)`, evenly, the first and the last among them.

    Examples:
        >>> spread(10, 4), spread(3, 4), spread(5, 1)
        ([0, 3, 6, 9], [0, 1, 2], [4])
    """
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count - 1]
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if there is no such file."""
    if not path.is_file():
        return {}
    record = _parse(path, None, path.read_bytes())
    if not isinstance(record, dict):
        raise ConfigError(f"{str(path)!r} holds {type(record).__name__}, not a JSON object.")
    return record


def _parse(path: Path, number: int | None, data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        where = f"{str(path)!r}" + (f", line {number}" if number else "")
        raise ConfigError(f"{where}: no JSON ({error}). Mend or remove it.") from error


def _read_lines(path: Path) -> Iterator[tuple[int, int, Any]]:
    """Number, offset in bytes and content of each line of JSON. A last line that was never ended may be torn."""
    if not path.is_file():
        return
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if line.strip():
                    yield number, offset, _parse(path, number, line)
            except ConfigError:
                if line.endswith(b"\n"):
                    raise
            offset += len(line)


def _is_step(step: Any) -> bool:
    return isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 2**53


def _read_metrics(path: Path) -> dict[int, dict[str, float]]:
    metrics: dict[int, dict[str, float]] = {}
    for number, _, record in _read_lines(path):
        step = record.get("step") if isinstance(record, dict) else None
        values = record.get("metrics") if isinstance(record, dict) else None
        if not _is_step(step) or not isinstance(values, dict):
            raise ConfigError(
                f"{str(path)!r}, line {number}: wants {{'step': a whole number, 'metrics': {{…}}}}; "
                f"got {record!r:.100}."
            )
        row: dict[str, float] = {}
        for name, value in values.items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"{str(path)!r}, line {number}: {name!r:.60} wants a number; got {value!r:.60}.")
            row[name] = _as_float(value)
        assert isinstance(step, int)
        metrics[step] = row  # a step that was taken again replaces what it was
    return dict(sorted(metrics.items()))


def _is_real(value: float) -> bool:
    return isinstance(value, float) or abs(value) < 2**53


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _read_noted(path: Path, in_summary: Any, kind: type[Noted]) -> list[Noted]:
    """What a file of such lines says, by step; or the summary, where that file is gone."""
    records = [(f"{str(path)!r}, line {number}", record) for number, _, record in _read_lines(path)]
    if not records and isinstance(in_summary, list):
        records = [(f"summary.json, {path.stem!r}", record) for record in in_summary]
    noted: list[Noted] = []
    for where, record in records:
        if not isinstance(record, dict) or "message" not in record:
            raise ConfigError(f"{where}: wants {{'step': …, 'kind': …, 'message': …}}; got {record!r:.100}.")
        step = record.get("step")
        word = str(record.get("kind", kind.__name__.lower()))
        noted.append(kind(step if _is_step(step) else None, word, str(record["message"])))
    return sorted(noted, key=lambda one: -1 if one.step is None else one.step)


def _workers(in_summary: Any) -> list[dict[str, Any]]:
    if in_summary is None:
        return []
    if not isinstance(in_summary, list) or not all(isinstance(worker, dict) for worker in in_summary):
        raise ConfigError(f"summary.json, 'workers': wants [{{'role': …, 'rank': …}}, …]; got {in_summary!r:.100}.")
    return in_summary


def _read_episodes(path: Path) -> tuple[list[StepEpisodes], int]:
    """Some episodes of some steps, and how many steps there are. Only those that are shown are kept in memory."""
    offsets: dict[int | None, list[tuple[int, int]]] = {}
    for number, offset, record in _read_lines(path):
        context = record.get("context") if isinstance(record, dict) else None
        step = context.get("step") if isinstance(context, dict) else None
        _trajectory(path, number, record)
        offsets.setdefault(step if _is_step(step) else None, []).append((number, offset))
    steps = sorted(offsets, key=lambda step: -1 if step is None else step)
    shown: list[StepEpisodes] = []
    if not steps:
        return shown, 0
    with path.open("rb") as file:
        for step in (steps[index] for index in spread(len(steps), MAX_STEPS_SHOWN)):
            lines = offsets[step]
            episodes = []
            for index in spread(len(lines), MAX_EPISODES_PER_STEP):
                number, offset = lines[index]
                file.seek(offset)
                episodes.append(_trajectory(path, number, _parse(path, number, file.readline())))
            shown.append(StepEpisodes(step, episodes, len(lines)))
    return shown, len(steps)


def _trajectory(path: Path, number: int, record: Any) -> Trajectory:
    try:
        trajectory = Trajectory.from_json({key: value for key, value in record.items() if key != "context"})
        for segment in trajectory.segments:
            numbers = all(isinstance(value, int | float) and _is_real(value) for value in segment.logprobs or ())
            if not (isinstance(segment.text, str) and numbers):
                raise ConfigError(f"a segment's text must be text, and its log-probs numbers; got {segment!r:.200}.")
        return trajectory
    except (ConfigError, AttributeError, TypeError) as error:
        raise ConfigError(f"{str(path)!r}, line {number}: {error}") from error
