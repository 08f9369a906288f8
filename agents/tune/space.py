"""What a sweep searches through: settings by name, "section.key", each with the values it may take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from agents.config import TrainConfig, load_config
from zs_env.errors import ConfigError

__all__ = ["KINDS", "Dimension", "check_space", "lay_over", "read_space", "tune_space"]

KINDS = {
    "choice": "one of these",
    "grid": "each of these in turn",
    "uniform": "a number between these two",
    "loguniform": "a number between these two, its logarithm evenly spread",
    "randint": "a whole number between these two, both included",
    "lograndint": "a whole number between these two, both included, its logarithm evenly spread",
}
"""What a setting's values may be, and what the list after it means."""

_FIXED = {
    "training.total_steps": "how long a trial may train is the same for all; the scheduler says which stop earlier",
    "run.checkpoint_every": "it changes nothing that could be compared",
    "run.keep_checkpoints": "it changes nothing that could be compared",
}

_MAX_COMBINATIONS = 1024
"""Of choices; of more it is left to the trials to find what doesn't go together."""

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One setting of a search space.

    Attributes:
        section: Its section.
        key: Its name there.
        kind: One of `KINDS`.
        values: What follows the kind: the choices, or the least and the greatest.
    """

    section: str
    key: str
    kind: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Its section and key, with a dot between."""
        return f"{self.section}.{self.key}"

    def to_tune(self) -> Any:
        """The same for Ray Tune."""
        from ray import tune

        if self.kind == "grid":
            return tune.grid_search(list(self.values))
        if self.kind == "choice":
            return tune.choice(list(self.values))
        low, high = self.values
        if self.kind in ("randint", "lograndint"):
            return getattr(tune, self.kind)(low, high + 1)  # Tune leaves the end out
        return getattr(tune, self.kind)(low, high)


def read_space(space: Mapping[str, Any], *, origin: str = "[space]") -> list[Dimension]:
    """Read a search space, and refuse names and values that can't be.

    Args:
        space: "section.key" to a mapping of one of `KINDS` to a list: `{"optimizer.learning_rate": {"loguniform":
            [1e-4, 1e-3]}}`. Sections may also be mappings themselves, as TOML makes them of names without quotes.
        origin: What to call it in errors.

    Raises:
        ConfigError: What is wrong, by name.
    """
    if not isinstance(space, Mapping) or not space:
        raise ConfigError(
            f'{origin} names at least one setting to search through: "optimizer.learning_rate" = '
            f"{{ loguniform = [1e-4, 1e-3] }}; got {space!r}."
        )
    flat: dict[str, Any] = {}
    for name, value in space.items():
        inner = isinstance(value, Mapping) and "." not in name and not set(value) <= set(KINDS)
        flat |= {f"{name}.{key}": spec for key, spec in value.items()} if inner else {name: value}
    return [_read_dimension(name, spec, origin) for name, spec in flat.items()]


def _read_dimension(name: str, spec: Any, origin: str) -> Dimension:
    types = get_type_hints(TrainConfig)
    section, _, key = name.partition(".")
    if section not in types or not key:
        raise ConfigError(f'{origin}: {name!r} is no setting: write "section.key". Sections: {", ".join(types)}.')
    known = [item.name for item in fields(types[section])]
    if key not in known:
        raise ConfigError(f"{origin}: [{section}] has no {key!r}. It has: {', '.join(known)}.")
    if name in _FIXED:
        raise ConfigError(f"{origin}: {name} can't be searched through: {_FIXED[name]}.")
    if not isinstance(spec, Mapping) or len(spec) != 1 or not set(spec) <= set(KINDS):
        raise ConfigError(
            f"{origin}: {name} needs one of {', '.join(KINDS)}, with a list: {name} = {{ choice = [1, 2] }}; "
            f"got {spec!r}."
        )
    ((kind, values),) = spec.items()
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ConfigError(f"{origin}: {name}: {kind} is {KINDS[kind]}, so a list follows; got {values!r}.")
    if kind not in ("choice", "grid"):
        _check_range(f"{origin}: {name}", kind, values)
    return Dimension(section=section, key=key, kind=kind, values=tuple(values))


def _check_range(where: str, kind: str, values: Sequence[Any]) -> None:
    numbers = (int,) if "int" in kind else (int, float)
    right = len(values) == 2 and all(type(value) in numbers and math.isfinite(value) for value in values)
    if not right or values[0] >= values[1] or ("log" in kind and values[0] <= 0):
        what = "two whole numbers" if "int" in kind else "two numbers"
        above = ", above 0," if "log" in kind else ""
        raise ConfigError(
            f"{where}: {kind} is {KINDS[kind]}: {what}{above} the smaller one first; got {list(values)!r}."
        )


def lay_over(base: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> Sections:
    """The settings of a trial: those that all share, and over them its own, by "section.key"."""
    sections: Sections = {name: dict(values) for name, values in base.items()}
    for name, value in given.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    return sections


def check_space(base: Mapping[str, Mapping[str, Any]], space: Sequence[Dimension]) -> TrainConfig:
    """Try every choice and both ends of every range, each with the first of all others; and choices with each other.

    Of `uniform` and `loguniform` the middle is tried, too: a setting of whole numbers may hold both ends and not that.

    Returns:
        The settings that all trials share, with the first value of each setting that is searched through.

    Raises:
        ConfigError: One of them is no setting that a run may have.
    """
    first = {dimension.name: dimension.values[0] for dimension in space}
    for dimension in space:
        for value in dimension.values:
            load_config(
                lay_over(base, first | {dimension.name: value}), origin=f"[space] with {dimension.name} = {value!r}"
            )
        if dimension.kind in ("uniform", "loguniform"):
            low, high = dimension.values
            load_config(
                lay_over(base, first | {dimension.name: low + (high - low) / 2.0}),
                origin=f"[space] with {dimension.name} between {low!r} and {high!r}",
            )
    chosen = [dimension for dimension in space if dimension.kind in ("choice", "grid")]
    if math.prod(len(dimension.values) for dimension in chosen) <= _MAX_COMBINATIONS:
        for values in itertools.product(*(dimension.values for dimension in chosen)):
            given = dict(zip((dimension.name for dimension in chosen), values, strict=True))
            words = ", ".join(f"{name} = {value!r}" for name, value in given.items())
            load_config(lay_over(base, first | given), origin=f"[space] with {words}")
    return load_config(lay_over(base, first), origin="[space]")


def tune_space(space: Sequence[Dimension]) -> dict[str, Any]:
    """The search space as Ray Tune wants it."""
    return {dimension.name: dimension.to_tune() for dimension in space}
