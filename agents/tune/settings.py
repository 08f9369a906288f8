"""The settings of a sweep, and the file that holds them."""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from agents.config import merge_layers, preset_names
from agents.config_files import Layer, read_file, read_preset
from agents.metrics import METRICS
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

__all__ = ["Sweep", "SweepSettings", "read_sweep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """[sweep]: how a search space is searched through.

    Attributes:
        metric: What trials are compared by: one of a training step's metrics, see `docs/metrics.md`.
        mode: "max" if more of it is better, or "min".
        num_samples: How often the space is drawn from; a grid is gone through that often.
        scheduler: "asha", which stops trials early that are behind, or "none".
        grace_steps: Training steps that each trial takes before it may be stopped.
        reduction_factor: Of the trials that come as far as a rung, one in so many goes on. Rungs are at grace_steps,
            and each so many times further on.
        seed: What the draws from the space come from. A trial's own seed is [run] seed.
        cpus_per_trial: CPUs that a trial reserves; fractions let several share one.
        gpus_per_trial: GPUs that a trial reserves.
        max_concurrent: The most trials at a time; 0 for as many as there is room for.
    """

    metric: str = "exact_match"
    mode: str = "max"
    num_samples: int = 8
    scheduler: str = "asha"
    grace_steps: int = 5
    reduction_factor: float = 2.0
    seed: int = 0
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    max_concurrent: int = 0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigError(
                f"metric must be one of a training step's{perhaps(self.metric, list(METRICS))}: {', '.join(METRICS)}; "
                f"got {self.metric!r}."
            )
        for name, known in (("mode", ("max", "min")), ("scheduler", ("asha", "none"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(map(repr, known))}; got {getattr(self, name)!r}.")
        for name in ("num_samples", "grace_steps"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("seed", "max_concurrent"):
            check_whole(name, getattr(self, name), least=0)
        for name, least in (("reduction_factor", 1.0), ("cpus_per_trial", 0.0), ("gpus_per_trial", -1.0)):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not is_number or value <= least or value < 0:
                rule = "at least 0" if least < 0 else f"above {least:g}"
                raise ConfigError(f"{name} must be a number {rule}; got {value!r}.")
        cpus = os.cpu_count() or 1
        if self.cpus_per_trial > cpus and "RAY_ADDRESS" not in os.environ:
            raise ConfigError(
                f"cpus_per_trial={self.cpus_per_trial:g} is more than this machine's {cpus}: no trial would ever "
                "start. Give less, or a cluster's RAY_ADDRESS."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep as its file says it.

    Attributes:
        settings: How the space is searched through.
        space: "section.key" to what it may be; see `agents.tune.space.read_space`.
        sections: The training settings that all trials share: section to key to value.
    """

    settings: SweepSettings = field(default_factory=SweepSettings)
    space: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Any]]

    def record(self) -> dict[str, Any]:
        """All of it in plain JSON types."""
        return {"sweep": asdict(self.settings), "space": dict(self.space), "sections": dict(self.sections)}


def perhaps(name: object, known: list[str]) -> str:
    """What a mistyped name may have been meant as, for an error."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def make_settings(values: Any, *, origin: str) -> SweepSettings:
    """The section [sweep].

    Raises:
        ConfigError: A key or value is unknown or wrong.
    """
    known = [item.name for item in fields(SweepSettings)]
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin}: [sweep] is a section of keys and values; got {values!r}.")
    for name in values:
        if name not in known:
            raise ConfigError(f"{origin}: [sweep] has no {name!r}{perhaps(name, known)}. It has: {', '.join(known)}.")
    try:
        return SweepSettings(**values)
    except ConfigError as error:
        raise ConfigError(f"{origin}: [sweep] {error}") from error


def read_sweep(path: Path) -> Sweep:
    """Read a sweep's file: a config file of training, that may extend a preset, with [sweep] and [space] beside.

    Raises:
        ConfigError: There is no such file, or something in it is wrong.
    """
    if not path.is_file():
        raise ConfigError(f"There is no sweep file {str(path)!r}.")
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}.") from error
    settings = make_settings(sections.pop("sweep", {}), origin=str(path))
    space = sections.pop("space", {})
    base = sections.pop("extends", None)
    layers = [] if base is None else _base(path, base)
    return Sweep(
        settings=settings,
        space=space,
        sections=merge_layers([*layers, Layer(origin=str(path), sections=sections)]),
    )


def _base(path: Path, base: Any) -> list[Layer]:
    if isinstance(base, str) and base in preset_names():
        return read_preset(base)
    file = path.parent / Path(base).expanduser() if isinstance(base, str) else None
    if file is None or not file.is_file():
        raise ConfigError(
            f"{path}: extends = {base!r} is neither a preset ({', '.join(preset_names())}) nor a file beside it."
        )
    return [replace(layer, gives_way=True) for layer in read_file(file)]
