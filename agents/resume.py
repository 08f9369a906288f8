"""Going on with a run: its settings, its newest good checkpoint, and whether it is still the same run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from agents.checkpoints import Checkpoints, read_state
from agents.config import ALGORITHMS, TrainConfig
from agents.config_files import merge_search
from agents.config_sections import SEARCH_AROUND, SEARCH_FILES
from agents.conversation import RolloutSettings
from agents.errors import CheckpointError, ModelError
from agents.policy import Policy
from agents.runs import RunFolder
from zs_env.command_options import option_at
from zs_env.errors import ConfigError
from zs_env.files import cut_file

__all__ = [
    "LOGS",
    "ResumePoint",
    "check_findable",
    "check_fingerprints",
    "check_settings",
    "cut_logs",
    "find_point",
    "local_sources",
    "resume_command",
    "resumed_sections",
]

LOGS = ("metrics.jsonl", "trajectories.jsonl", "alarms.jsonl")
"""The files that grow with each step, and are cut back to the checkpoint."""

_FREE = {
    "run.workers",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.save_trajectories_every",
    "run.num_saved_trajectories",
    "alarm.action",
    *(f"search.{key}" for key in SEARCH_AROUND),
    *(
        f"scale.{key}"
        for key in (
            "gpus_per_learner",
            "gpus_per_sampler",
            "address",
            "sampler_timeout_s",
            "learner_timeout_s",
            "start_timeout_s",
            "max_replacements",
            "bucket_megabytes",
            "num_simulators",
            "gpus_per_simulator",
            "simulator_backend",
        )
    ),
}
"""What may change when a run goes on: its result is the same."""

_ROUNDING = {
    "run.threads",
    "run.device",
    "learner.micro_batch_tokens",
    "sampling.max_batch_tokens",
    "sampling.vllm_options",
    "scale.num_learners",
    "scale.num_samplers",
    "scale.chunks_per_sampler",
}
"""What may change, too: its result is the same but for rounding, which training amplifies."""

_SOURCES = {"model.source", "model.base", "questions.source", "evaluation.source"}
"""What is compared by content: a folder may have moved."""

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a run goes on.

    Attributes:
        step: The training step that comes next.
        folder: The checkpoint; None if there is none yet.
        state: What it holds; empty without one.
        policy: Its policy; None without one.
        start: What `start.json` says of what the run began with.
    """

    step: int
    folder: Path | None
    state: dict[str, Any]
    policy: Policy | None
    start: dict[str, Any]


def resumed_sections(run: RunFolder, given: Mapping[str, Mapping[str, Any]]) -> Sections:
    """The settings that a run was begun with, and over them what is given again.

    Raises:
        ConfigError: It searched with a file (a cache, a record, a model, …) that isn't here, and none is given.
    """
    sections: Sections = {name: dict(values) for name, values in run.read("config.json").items()}
    for key in SEARCH_FILES:
        recorded = sections.get("search", {}).get(key)
        if recorded and key not in given.get("search", {}) and not Path(recorded).exists():
            raise ConfigError(
                f"The run searched with {key} {recorded!r}, which isn't here; a run's record holds names, not paths. "
                f"Give --{key.replace('_', '-')} with its path again."
            )
    search, again = sections.get("search", {}), given.get("search", {})
    for key in [] if search.get("replay") or "replay" in again else run.read("start.json").get("search_paths", []):
        is_option = key != "simulation_llm"
        recorded = option_at(search.get("options", {}), key) if is_option else search.get(key)
        is_given = option_at(again.get("options", {}), key) is not None if is_option else key in again
        if recorded and not is_given and not Path(recorded).exists():
            flag = f"--search-option {key}=PATH" if is_option else "--simulation-llm"
            raise ConfigError(
                f"The run searched with {key} {recorded!r}, which isn't here; a run's record holds names, not paths. "
                f"Give {flag} with its path again."
            )
    for name, values in given.items():
        under = sections.get(name, {})
        sections[name] = merge_search(under, values) if name == "search" else under | dict(values)
    if sections.get("scale", {}).get("address") == "given":
        raise ConfigError(
            "The run was on a Ray cluster whose address is not in its record, as no record names machines. Give "
            "--address again, or --address local for a cluster of this machine alone."
        )
    algorithm = sections.get("run", {}).get("algorithm")
    others = {own for name, owned in ALGORITHMS.items() if name != algorithm for own in owned}
    return {name: values for name, values in sections.items() if name not in others or name in given}


def check_settings(config: TrainConfig, run: RunFolder, say: Callable[[str], None]) -> TrainConfig:
    """Refuse settings with which the run would not be the one that was begun.

    Returns:
        The settings that the run goes on with.

    Raises:
        ConfigError: It names each setting that differs, with both values.
    """
    recorded = run.read("config.json")
    budget = recorded.get("rollout", {}).get("max_episode_tokens")
    if config.rollout.max_episode_tokens == RolloutSettings().max_episode_tokens and isinstance(budget, int):
        # The default was cut to the model's context when the run began; see `TrainConfig.fitted`.
        config = replace(config, rollout=replace(config.rollout, max_episode_tokens=budget))
    changed = _changes(recorded, json.loads(json.dumps(config.record())))
    wrong = [line for key, line in changed.items() if key not in _FREE | _ROUNDING | _SOURCES]
    if wrong:
        raise ConfigError(
            f"The run {str(run.path)!r} was begun with other settings: {'; '.join(wrong)}. Leave them as they were to "
            f"go on, or begin a new run from its policy: --model {run.checkpoint} --run-name NEW."
        )
    rounding = [line for key, line in changed.items() if key in _ROUNDING]
    if rounding:
        say(
            f"With {'; '.join(rounding)} the run goes on up to rounding, no longer bit by bit as it would have without "
            "the stop."
        )
    return config


def _changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """`section.key` to what to say of it, for each setting that isn't as it was."""
    types, changed = get_type_hints(TrainConfig), {}
    for name, values in now.items():
        was = recorded.get(name)
        if was is None:  # a section that this version added: as if it had been left out
            default = types[name]()
            was = {item.name: getattr(default, item.name) for item in fields(default)}
        for key, value in values.items():
            before = was.get(key, _default(types[name], key))
            if json.loads(json.dumps(before)) != value:
                changed[f"{name}.{key}"] = f"[{name}] {key} was {before!r} and is now {value!r}"
    return changed


def _default(section: Any, key: str) -> Any:
    """What a key that this version added is if it is left out."""
    try:
        return getattr(section(), key)
    except TypeError:
        return None


def find_point(
    run: RunFolder, checkpoints: Checkpoints, load: Callable[[Path], Policy], say: Callable[[str], None]
) -> ResumePoint:
    """The newest checkpoint that can be read, or the beginning if there is none yet; logs are cut back to it.

    Args:
        run: The run.
        checkpoints: Its checkpoints.
        load: Loads a checkpoint's policy.
        say: Is told of those that can't be read.

    Raises:
        CheckpointError: There are checkpoints, and none can be read.
    """
    start = run.read("start.json")
    checkpoints.tidy()
    broken = []
    point = ResumePoint(0, None, {}, None, start)
    for folder in checkpoints.all():
        try:
            state = read_state(folder)
            policy = load(folder)
            if policy.fingerprints()["model"] != state["weights"]:
                raise CheckpointError(f"The weights in {str(folder)!r} aren't those that were saved there.")
            point = ResumePoint(int(state["step"]), folder, state, policy, start)
            break
        except (CheckpointError, ModelError) as error:
            broken.append((folder, error))
    if broken and point.folder is None:
        raise CheckpointError(
            f"No checkpoint of the run {str(run.path)!r} can be read. {broken[0][1]} To begin again at step 0, delete "
            f"{checkpoints.folder}."
        )
    for folder, reason in broken:
        say(f"{reason} An earlier checkpoint is taken; this one is kept as {checkpoints.set_aside(folder)}.")
    if broken:
        checkpoints.tidy()
    cut_logs(run, point.state, point.step, say)
    return point


def cut_logs(run: RunFolder, state: Mapping[str, Any], step: int, say: Callable[[str], None]) -> None:
    """Cut the files that grow with each step back to what they were at a checkpoint.

    Args:
        run: The run.
        state: What the checkpoint holds; empty for the beginning.
        step: How many steps it has behind it.
        say: Is told of a file that has lost something.
    """
    sizes = state.get("files", {})
    for name in LOGS:
        if not cut_file(run.path / name, sizes.get(name, 0)):
            say(f"{name} has lost lines of steps before {step}: it was longer when the checkpoint was written.")


def check_fingerprints(what: str, flags: str, began: Any, now: Any) -> None:
    """Refuse another model or other questions than those that the run began with.

    Raises:
        ConfigError: They differ.
    """
    if began != now:
        raise ConfigError(
            f"{what} not what the run began with: the fingerprint was {began}, and is now {now}. Give {flags} with "
            "what it was, or begin a new run."
        )


def check_findable(config: TrainConfig, start: Mapping[str, Any], *, model: bool) -> None:
    """Ask for the path of what a run was begun with, where the name that is recorded doesn't lead there.

    Args:
        config: The settings.
        start: What `start.json` says.
        model: Whether the starting model is needed.

    Raises:
        ConfigError: Something can't be found.
    """
    local = start.get("local", [])
    wanted = [("questions", "--questions", config.questions.source)]
    wanted.append(("evaluation", "--eval-questions", config.evaluation.source or ""))
    if model:
        wanted.append(("model", "--model", config.model.source))
    for name, flag, source in wanted:
        if name in local and not Path(source).expanduser().exists():
            raise ConfigError(
                f"The run began with {source!r}, which isn't here; a run's record holds names, not paths. Give {flag} "
                "with its path again."
            )


def local_sources(config: TrainConfig) -> list[str]:
    """Which of "model", "questions" and "evaluation" come from a local file or folder."""
    sources = {
        "model": config.model.source,
        "questions": config.questions.source,
        "evaluation": config.evaluation.source or "",
    }
    return [name for name, source in sources.items() if source and Path(source).expanduser().exists()]


def resume_command(run: RunFolder, config: TrainConfig, *, model: bool) -> str:
    """What goes on with a run.

    Args:
        run: The run.
        config: Its settings.
        model: Whether the starting model is needed for that.
    """
    parts = ["python", "-m", "agents", "train", "--resume", "--run-name", run.name]
    if run.root != Path("runs"):
        parts += ["--runs", str(run.root)]
    sources = [("--questions", config.questions.source), ("--eval-questions", config.evaluation.source)]
    sources += [(f"--{key.replace('_', '-')}", getattr(config.search, key)) for key in SEARCH_FILES]
    paths = dict(config.search.paths)
    sources.append(("--simulation-llm", paths.pop("simulation_llm", None)))
    for flag, source in [*sources, ("--model", config.model.source if model else None)]:
        if source and Path(source).exists() and Path(source).name != source:
            parts += [flag, source]
    if config.scale.address is not None:
        parts += ["--address", config.scale.address]
    for name, path in paths.items():
        if Path(path).name != path:
            parts += ["--search-option", f"{name}={path}"]
    return " ".join(shlex.quote(part) for part in parts)
