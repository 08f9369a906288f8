"""Who is asked: the tuned simulator, the prompted model, and what else is to stand beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.tuning.gating.simulators import (
    Contender,
    as_loadable,
    is_address,
    own_prompts,
    playing_options,
    weights_fingerprint,
)
from zs_env.tuning.simulator_file import read_simulator

__all__ = ["Asked", "find_contenders"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user says of who is to be asked.

    Attributes:
        model: The tuned simulator: a folder, a GGUF file, or its name on a server.
        base_url: Its server.
        against: The prompted model: "smollm2", a GGUF file, a folder, or a server's address. Left out: what the
            simulator says it was made of.
        against_model: That model's name on its server.
        beside: Further tuned simulators that stand beside, such as the same one with fewer bits a number: folders, GGUF
            files, or servers' addresses. No rule is about them.
        beside_untuned: Whether that model is also asked with the short prompt of tuned simulators.
        options: How all play or are reached.
        candidate_options: The same of the tuned simulator alone.
        against_options: The same of the prompted model alone.
    """

    model: str | None = None
    base_url: str | None = None
    against: str | None = None
    against_model: str | None = None
    beside: Sequence[str] = ()
    beside_untuned: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    candidate_options: Mapping[str, Any] = field(default_factory=dict)
    against_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model is None and self.base_url is None:
            raise ConfigError("There is no simulator to judge: give --model (a folder or a .gguf file) or --base-url.")

    @property
    def path(self) -> Path | None:
        """The tuned simulator's files, if they are on this machine."""
        path = None if self.model is None else Path(self.model).expanduser()
        return path if path is not None and path.exists() else None

    def simulator(self) -> dict[str, Any]:
        """What stands beside the tuned simulator; empty if nothing does."""
        return (read_simulator(self.path) if self.path is not None else None) or {}


def find_contenders(asked: Asked, out: Path) -> list[Contender]:
    """The candidate, the reference that the rules compare it with, and what else stands beside.

    Args:
        asked: What a user says.
        out: Where prompts and converted models are written.

    Raises:
        ConfigError: A model isn't there, or can't be loaded here.
    """
    simulator = asked.simulator()
    playing = {**playing_options(simulator), **asked.options}
    learnt = own_prompts(simulator, out / "prompts")
    name: str | None
    file: Path | None
    if asked.base_url is not None:
        name, file = None if asked.path is not None else asked.model, asked.path
    else:
        assert asked.model is not None
        name, file = as_loadable(asked.model, out, "candidate")
    candidate = Contender(
        role="candidate",
        mode="sft",
        model=name,
        base_url=asked.base_url,
        options={**learnt, **playing, **asked.candidate_options},
        file=file,
        tuned=True,
    )
    model, url, weights = _reference(asked, simulator, out)
    others = {**playing, **asked.against_options}
    found = [
        candidate,
        Contender(role="reference", mode="prompt", model=model, base_url=url, options=others, file=weights),
    ]
    if asked.beside_untuned:
        short = {**learnt, **others}
        found.append(Contender(role="untuned", mode="sft", model=model, base_url=url, options=short, file=weights))
    return [*found, *(_beside(one, asked, learnt, playing, out) for one in asked.beside)]


def _beside(model: str, asked: Asked, learnt: Mapping[str, Any], playing: Mapping[str, Any], out: Path) -> Contender:
    """One more tuned simulator, which plays as it learnt, or else as the candidate does."""
    own: dict[str, Any] = {**learnt, **playing}
    name: str | None
    url: str | None
    file: Path | None
    if is_address(model):
        role = f"beside-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
        name, url, file = None, model, None
    else:
        name, file = as_loadable(model, out, f"beside-{Path(model).name}")
        role, url = f"beside-{weights_fingerprint(file)[:8]}", None
        simulator = read_simulator(Path(model).expanduser()) if Path(model).expanduser().exists() else None
        if simulator is not None:
            own = {**own_prompts(simulator, out / f"prompts-{role}"), **playing_options(simulator), **asked.options}
    options = {**own, **asked.candidate_options}
    return Contender(role=role, mode="sft", model=name, base_url=url, options=options, file=file, tuned=True)


def _reference(asked: Asked, simulator: Mapping[str, Any], out: Path) -> tuple[str | None, str | None, Path | None]:
    """The prompted model: its name, its server, its file."""
    against = asked.against or simulator.get("base_model")
    if not against:
        raise ConfigError(
            "There is no prompted model to compare with: give --against (smollm2, a .gguf file, a folder, or a "
            "server's address); this simulator doesn't say which model it was made of."
        )
    if is_address(against):
        return asked.against_model, against, None
    try:
        model, file = as_loadable(against, out, "reference")
    except ConfigError as error:
        if asked.against is not None:
            raise
        raise ConfigError(f"The model it was made of isn't at hand: {error} Give one as --against.") from error
    return model, None, file
