"""Where settings come from: presets, TOML files that may extend each other, flags; and how one is laid over another."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.config_sections import ALGORITHMS, PRESETS, RunConfig
from zs_env.command_options import lay_options
from zs_env.errors import ConfigError

__all__ = [
    "Layer",
    "algorithm_of",
    "load_preset",
    "merge",
    "merge_search",
    "preset_names",
    "read_file",
    "read_preset",
]

_SIMULATED = ("simulate_prompt", "simulate_sft", "hostile")
"""The search modes that take a simulator."""
_WARMUPS = (("optimizer", "warmup_steps"), ("critic", "warmup_steps"), ("ppo", "value_warmup_steps"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Some settings, of one origin.

    Attributes:
        origin: What to call it in errors.
        sections: Section to key to value, as TOML gives them.
        gives_way: Whether sections of an algorithm that isn't run are left out: they are the choice of a preset, or of
            a file that another one extends, and not of whoever starts the run. Elsewhere they are an error.
    """

    origin: str
    sections: dict[str, Any]
    gives_way: bool = False


def preset_names() -> list[str]:
    """The presets that there are."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_preset(name: str) -> dict[str, dict[str, Any]]:
    """The sections of a named preset, laid over those that it extends.

    Raises:
        ConfigError: There is no such preset.
    """
    return merge(read_preset(name))


def read_preset(name: str) -> list[Layer]:
    """A preset, after those that it extends.

    Raises:
        ConfigError: There is no such preset.
    """
    if name not in preset_names():
        raise ConfigError(f"Unknown preset {name!r}. Available: {', '.join(preset_names())}.")
    return _read(PRESETS / f"{name}.toml", (), gives_way=True)


def read_file(path: Path) -> list[Layer]:
    """A config file, after the presets and files that it extends.

    Raises:
        ConfigError: There is no such file, it is no TOML, or it extends something that isn't there or itself.
    """
    return _read(path, (), gives_way=False)


def _read(path: Path, extending: tuple[Path, ...], *, gives_way: bool) -> list[Layer]:
    """A file's layers; `extending` are the files that lead to it."""
    origin = _name(path)
    if path.resolve() in extending:
        chain = " extends ".join(_name(file) for file in (*extending, path))
        raise ConfigError(f"{chain}: no file can extend itself. Remove one of these `extends`.")
    if not path.is_file():
        raise ConfigError(f"There is no config file {str(path)!r}.")
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin} is no TOML: {error}.") from error
    base = sections.pop("extends", None)
    own = Layer(origin=origin, sections=sections, gives_way=gives_way)
    if base is None:
        return [own]
    return [*_read(_base(origin, path, base), (*extending, path.resolve()), gives_way=True), own]


def _base(origin: str, path: Path, base: object) -> Path:
    """The file that `extends` names."""
    presets = preset_names()
    if isinstance(base, str):
        if base in presets:
            return PRESETS / f"{base}.toml"
        file = path.parent / Path(base).expanduser()
        if file.is_file():
            return file
    raise ConfigError(
        f"{origin}: extends = {base!r} is neither a preset ({', '.join(presets)}) nor a file beside it (a path is "
        "relative to the file that names it)."
    )


def _name(path: Path) -> str:
    """What to call a file in errors."""
    return f"preset {path.stem}" if path.resolve().parent == PRESETS.resolve() else str(path)


def algorithm_of(layers: Sequence[Layer], *, default: str | None = None) -> str:
    """The algorithm that the highest layer that names one names; if none does, `default`, or what runs by default."""
    found: Any = RunConfig().algorithm if default is None else default
    for layer in layers:
        run = layer.sections.get("run")
        found = run.get("algorithm", found) if isinstance(run, dict) else found
    return str(found)


def merge(layers: Sequence[Layer], *, say: Callable[[str], None] | None = None) -> dict[str, dict[str, Any]]:
    """Lay settings over each other, key by key; later ones win.

    What an earlier layer set gives way, too, where it would contradict a later one: a mix of noise to thresholds and
    the other way round, a split to another source, a warm-up to a shorter run, options to another search mode, and a
    preset's sections of another algorithm.

    Args:
        layers: From the lowest to the highest.
        say: Is told of a warm-up that shrinks; nothing if left out.
    """
    algorithm = algorithm_of(layers)
    others = {name for owner, names in ALGORITHMS.items() if owner != algorithm for name in names}
    if algorithm not in ALGORITHMS:
        others = set()  # an error that is told later
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        _give_way(merged, layer.sections, say)
        for name, values in layer.sections.items():
            if not (layer.gives_way and name in others):
                under = merged.get(name, {})
                merged[name] = merge_search(under, values) if name == "search" else under | values
    return merged


def merge_search(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a section [search] over another one.

    Options are added to those of the same mode; one with dots in its name is a key of a table among them. They are
    those of their own engine, so another mode takes them away,
    and a mode that has no simulator takes away the simulator, too.

    Examples:
        >>> persona = {"mode": "simulate_sft", "base_url": "http://a", "options": {"persona": "Google"}}
        >>> merge_search(persona, {"options": {"max_tries": 2}})["options"]
        {'persona': 'Google', 'max_tries': 2}
        >>> merge_search(persona, {"mode": "template"})
        {'mode': 'template'}
    """
    merged = dict(under)
    mode = over.get("mode", under.get("mode"))
    if mode != under.get("mode"):
        merged.pop("options", None)
        if mode not in _SIMULATED:
            for key in ("simulation_llm", "base_url", "check"):
                merged.pop(key, None)
    options = merged.get("options") or {}
    merged.update(over)
    if isinstance(over.get("options"), Mapping):
        merged["options"] = lay_options(options, over["options"], make=False)
    return merged


def _give_way(
    merged: dict[str, dict[str, Any]], over: dict[str, dict[str, Any]], say: Callable[[str], None] | None
) -> None:
    """Take out of `merged` what would contradict the settings that come over it."""

    def drop(section: str, *keys: str) -> None:
        for key in keys:
            merged.get(section, {}).pop(key, None)

    noise, questions, evaluation = (over.get(name, {}) for name in ("noise", "questions", "evaluation"))
    if "mix" in noise:
        drop("noise", "start_threshold", "end_threshold")
    if "start_threshold" in noise or "end_threshold" in noise:
        drop("noise", "mix")
    # A split is that of its own source.
    if "source" in questions:
        drop("questions", "split")
    if "source" in questions or "source" in evaluation:
        drop("evaluation", "split")
    total = over.get("training", {}).get("total_steps")
    for section, key in _WARMUPS:
        warmup = merged.get(section, {}).get(key, 0)
        if total is not None and warmup >= total > 0 and key not in over.get(section, {}):
            merged[section][key] = total // 2
            if say:
                say(f"[{section}] {key} = {warmup} is too long for {total} steps: it takes {total // 2} instead.")
