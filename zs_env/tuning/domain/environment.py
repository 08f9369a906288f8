"""The fourth step of a domain: an environment, as plain options of `gym.make`.

`environment.json` is for training: the domain's questions, and its simulator. `environment_bm25.json` is the same with
a real search of the same passages, to measure how far what was learned there holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.questions import load_questions
from zs_env.tuning.domain.corpus import CORPUS
from zs_env.tuning.domain.questions import QUESTIONS
from zs_env.tuning.gating.simulators import own_prompts
from zs_env.tuning.simulator_file import read_simulator, simulation_options

__all__ = ["BM25", "SIMULATED", "EnvironmentSettings", "environment_options", "make", "write_environment"]

SIMULATED = "environment.json"
BM25 = "environment_bm25.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettings:
    """What the environment is made of, beside the domain's questions.

    Attributes:
        simulation_llm: A prompted model in place of the tuned one, or the tuned one's name on `base_url`.
        base_url: The simulator's server; left out: it runs in this process.
        persona: Which search engine it is, where no tuned simulator says so.
        split: The split that is played.
        topk: Documents a search; left out: what the simulator learned, or 5.
        max_turns: Actions an episode.
        ungated: Whether a tuned simulator is taken that no gate accepted.
    """

    simulation_llm: str | None = None
    base_url: str | None = None
    persona: str | None = None
    split: str = "train"
    topk: int | None = None
    max_turns: int = 5
    ungated: bool = False


def write_environment(folder: Path, settings: EnvironmentSettings) -> dict[str, Any]:
    """Write both files of options.

    Paths in them are as `folder` was given: they hold from the working directory where this is called. `make` finds the
    files also from elsewhere, and after the folder was moved.

    Returns:
        The options with the simulator.

    Raises:
        ConfigError: Questions, passages or a simulator are missing, or no gate accepted the simulator.
    """
    questions, corpus = folder / QUESTIONS, folder / CORPUS
    for path, step in ((corpus, "passages"), (questions, "questions")):
        if not path.is_file():
            raise ConfigError(f"There is no {path}: run `tune domain {step}` first.")
    load_questions(questions, settings.split)
    learned = _learned(folder)
    simulated = _simulated(folder, settings, learned)
    topk = settings.topk or learned.get("topk") or 5
    common = {"questions": str(questions), "topk": int(topk), "max_turns": settings.max_turns}
    options = {**common, "split": settings.split, **simulated}
    write_json(folder / SIMULATED, options)
    real = {"search_mode": "bm25", "search_options": {"corpus": str(corpus)}}
    write_json(folder / BM25, {**common, "split": "test", **real})
    return options


def _learned(folder: Path) -> dict[str, Any]:
    """What a tuned simulator says that it learned; nothing if there is none."""
    for model in (folder / "simulator.gguf", folder / "model"):
        record = read_simulator(model) if model.exists() else None
        if record is not None:
            return record
    return {}


def _simulated(folder: Path, settings: EnvironmentSettings, learned: Mapping[str, Any]) -> dict[str, Any]:
    """The options that name the simulator, and say how it plays."""
    gguf = folder / "simulator.gguf"
    is_tuned = bool(learned) and (settings.base_url is not None or settings.simulation_llm is None)
    if is_tuned and not settings.ungated:
        _see_accepted(folder)
    if is_tuned and settings.base_url is None and not gguf.is_file():
        raise ConfigError(
            f"There is no {gguf}, which would run in this process: make it with `tune quantise --model "
            f"{folder / 'model'} --to gguf:q8_0 --out {gguf}`, or serve {folder / 'model'} and give --base-url."
        )
    if not is_tuned and settings.simulation_llm is None and settings.base_url is None:
        raise ConfigError(
            f"There is no tuned simulator in {folder}: run `tune domain simulator`, or give --simulation-llm or "
            "--base-url, and that model is prompted to play the domain's search engine."
        )
    playing = simulation_options(learned) if is_tuned else {}
    if settings.persona is not None:
        playing["persona"] = settings.persona
    if not playing.get("persona"):
        raise ConfigError("No simulator says which search engine it plays: give --persona, as 'Acme handbook'.")
    if is_tuned:
        playing |= own_prompts(learned, folder / "prompts")
    model = settings.simulation_llm if settings.base_url or not is_tuned else str(gguf)
    options = {
        "search_mode": "simulate_sft" if is_tuned else "simulate_prompt",
        "simulation_llm": model,
        "base_url": settings.base_url,
        "search_options": playing,
    }
    return {name: value for name, value in options.items() if value is not None}


def _see_accepted(folder: Path) -> None:
    path = folder / "gate" / "gate.json"
    try:
        accepted = json.loads(path.read_text(encoding="utf-8")).get("accepted") if path.is_file() else None
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from error
    if accepted is not True:
        said = "refused" if accepted is False else "hasn't judged"
        raise ConfigError(
            f"A gate {said} the simulator of {folder}: what is learned with it may be worth nothing. Run `tune domain "
            "simulator` to its end, or take it all the same with --ungated."
        )


def environment_options(folder: str | Path, *, bm25: bool = False) -> dict[str, Any]:
    """The options of a domain's environment, with paths that hold from here.

    Args:
        folder: The domain's folder, wherever it is now.
        bm25: Whether to search the passages for real, in place of the simulator.

    Raises:
        ConfigError: There is no such file, or it can't be read.
    """
    folder = Path(folder)
    path = folder / (BM25 if bm25 else SIMULATED)
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
        written_in = Path(options["questions"]).parent
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} can't be read ({error}): run `tune domain environment {folder}`.") from error

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: moved(inner) for name, inner in value.items()}
        if isinstance(value, str) and Path(value).is_relative_to(written_in) and value != str(written_in):
            inside = folder / Path(value).relative_to(written_in)
            return str(inside) if inside.exists() else value
        return value

    found: dict[str, Any] = moved(options)
    return found


def make(folder: str | Path, *, bm25: bool = False, **overrides: Any) -> gym.Env[str, str]:
    """Make a domain's environment.

    Args:
        folder: The domain's folder.
        bm25: Whether to search the passages for real, on the test split, in place of the simulator.
        **overrides: Options of `gym.make("ZeroSearch-v0", …)` in place of those that are written.
    """
    return gym.make("ZeroSearch-v0", **{**environment_options(folder, bm25=bm25), **overrides})
