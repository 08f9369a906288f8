"""A sweep from settings to a table of trials; or the rest of one that was stopped."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.config import TrainConfig
from agents.errors import TrainingError
from agents.interrupts import Interrupted
from agents.loopback import start_on_loopback
from agents.runs import RunFolder, describe_machine, hold_lock
from agents.tune.settings import Sweep, SweepSettings
from agents.tune.space import check_space, read_space, tune_space
from zs_env.errors import ConfigError, require
from zs_env.files import remove, write_json

__all__ = ["SCHEMA", "SWEEP_FILE", "UNFINISHED", "sweep"]

SCHEMA = "zerosearch.sweep/1"
"""The version of `results.json`'s schema."""

SWEEP_FILE = "sweep.json"
UNFINISHED = "unfinished"
"""The status of a trial that `resume` would go on with."""

_EXPERIMENT = "tune"
_LOCK = ".lock"
_SNAPSHOT_S = "5"
_OBJECT_STORE_BYTES = 200_000_000

Say = Callable[[str], None]


def sweep(
    given: Sweep,
    name: str,
    *,
    root: Path = Path("runs"),
    resume: bool = False,
    overwrite: bool = False,
    say: Say | None = None,
) -> dict[str, Any]:
    """Search through training settings with Ray Tune; each trial is a run of `agents.train.train` in its own folder.

        <root>/<name>/
          sweep.json       the sweep's settings
          trial_00000/ …   a run's folder a trial; see `agents.runs`
          results.json     all trials, the best first
          tune/            what Tune keeps

    A sweep that was stopped or killed goes on with `resume`: finished trials are not run again, others go on from their
    own run's newest checkpoint and end, bit by bit, as they would have without. Trials that failed are tried again.

    Args:
        given: What is searched through, and how.
        name: The sweep's folder in `root`.
        root: The folder of all runs.
        resume: Whether the sweep of that name is to go on.
        overwrite: Whether a sweep of that name may be replaced.
        say: Is told what is going on; nothing if left out.

    Returns:
        The record that `results.json` holds.

    Raises:
        ConfigError: A setting or a combination is wrong. Nothing has been started then.
        Interrupted: It was stopped by Ctrl-C. What there is, is saved.
        MissingPackageError: Ray Tune isn't installed.
        RunBusyError: Another process is at this sweep.
        TrainingError: All trials failed.
    """
    tell = say or (lambda line: None)
    space = read_space(given.space)
    config = check_space(given.sections, space)
    total, settings = config.training.total_steps, given.settings
    if total < 1:
        raise ConfigError(f"[training] total_steps={total}: a sweep needs at least one step to compare trials by.")
    if settings.scheduler == "asha" and settings.grace_steps >= total:
        raise ConfigError(
            f"[sweep] grace_steps={settings.grace_steps} is not less than [training] total_steps={total}: no trial "
            "would ever be stopped. Give fewer, or scheduler = 'none'."
        )
    folder = root.absolute() / name
    _check_folder(folder, given, name, root, resume=resume, overwrite=overwrite)
    require("ray.tune", needed_for="A sweep", install='pip install "zerosearch-env[ray]"')
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder / _LOCK):
        if not resume:
            for path in folder.iterdir():
                if path.name != _LOCK:
                    remove(path)
            write_json(folder / SWEEP_FILE, given.record())
        with _local_ray():
            results = _fit(given, tune_space(space), folder, total, tell)
        record = _record(given, results, config)
        write_json(folder / "results.json", record)
    if record["trials"] and all(trial["status"] == "failed" for trial in record["trials"]):
        raise TrainingError(
            f"All trials of the sweep in {folder} failed; {record['trials'][0]['run']} by: "
            f"{record['trials'][0].get('reason', 'it left no reason')}"
        )
    wanted = settings.num_samples * math.prod(len(one.values) for one in space if one.kind == "grid")
    if len(record["trials"]) < wanted or any(trial["status"] == UNFINISHED for trial in record["trials"]):
        raise Interrupted(f"The sweep in {folder} isn't finished. Go on with it by --resume.")
    return record


def _check_folder(folder: Path, given: Sweep, name: str, root: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that the folder may be used."""
    if resume and overwrite:
        raise ConfigError("Give either --resume or --overwrite, not both: one goes on, the other begins anew.")
    file, record = folder / SWEEP_FILE, json.loads(json.dumps(given.record()))
    if resume:
        if not file.is_file():
            raise ConfigError(f"There is no sweep {name!r} in {str(root)!r} to go on with.")
        began = json.loads(file.read_text(encoding="utf-8"))
        changed = _changes(began, record)
        if changed:
            raise ConfigError(
                f"The sweep {str(folder)!r} was begun with other settings: {'; '.join(changed)}. Leave them as they "
                "were to go on, or begin another sweep."
            )
        return
    RunFolder(name, root=folder)  # checks that it is a plain name and can be written, and makes nothing
    if folder.exists() and any(path.name != _LOCK for path in folder.iterdir()):
        if not file.is_file():
            raise ConfigError(f"{str(folder)!r} exists and is no sweep's folder: choose another --run-name.")
        if not overwrite:
            raise ConfigError(
                f"The sweep {str(folder)!r} exists. Choose another --run-name, give --resume to go on with it, or "
                "--overwrite to replace it."
            )


def _changes(began: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs, setting by setting."""
    changed = []
    for part in ("sweep", "space", "sections"):
        was, is_now = began.get(part, {}), now.get(part, {})
        changed += [
            f"[{part}] {name} was {was.get(name)!r} and is now {is_now.get(name)!r}"
            for name in sorted({*was, *is_now})
            if was.get(name) != is_now.get(name)
        ]
    return changed


@contextmanager
def _local_ray() -> Iterator[None]:
    """Ray, on this machine's loopback alone unless there is a cluster (RAY_ADDRESS, or one that is connected)."""
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # paths in settings stay what they are
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", _SNAPSHOT_S)
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # `TrainingTrial` says it better
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # whose tables come whatever `verbose` says
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # runs have their own logs
    import ray

    if ray.is_initialized():
        yield
        return
    checkout = str(Path(__file__).parents[2])
    options: dict[str, Any] = {"runtime_env": {"env_vars": {"PYTHONPATH": _path_with(checkout)}}}
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    else:
        start_on_loopback(object_store_memory=_OBJECT_STORE_BYTES, **options)
    try:
        yield
    finally:
        ray.shutdown()


def _path_with(checkout: str) -> str:
    there = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return os.pathsep.join([checkout, *(part for part in there if part != checkout)])


def _scheduler(settings: SweepSettings, total: int) -> Any:
    """Which stops trials early, or none."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if settings.scheduler == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    return ASHAScheduler(
        time_attr="steps",
        # A run ends by itself, after its evaluation: a rung at its last step would take that from it and save nothing.
        max_t=total - 1,
        stop_last_trials=False,
        grace_period=settings.grace_steps,
        reduction_factor=settings.reduction_factor,
    )


def _fit(given: Sweep, space: dict[str, Any], folder: Path, total: int, say: Say) -> Any:
    """Run Tune, or the rest of what it was about to."""
    from ray import tune
    from ray.tune.search.basic_variant import BasicVariantGenerator

    from agents.tune.progress import StopsWithoutMetric, Tells, name_of
    from agents.tune.trial import TrainingTrial

    settings = given.settings
    trainable = tune.with_resources(
        tune.with_parameters(TrainingTrial, root=str(folder), sections=given.sections, metric=settings.metric),
        {"cpu": settings.cpus_per_trial, "gpu": settings.gpus_per_trial},
    )
    experiment = folder / _EXPERIMENT
    if tune.Tuner.can_restore(str(experiment)):
        tuner = tune.Tuner.restore(str(experiment), trainable=trainable, resume_errored=True)
        say(f"Going on with the sweep in {folder}.")
    else:
        shutil.rmtree(experiment, ignore_errors=True)  # killed before it had written down anything
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                metric=settings.metric,
                mode=settings.mode,
                num_samples=settings.num_samples,
                scheduler=_scheduler(settings, total),
                search_alg=BasicVariantGenerator(
                    constant_grid_search=True,  # each draw with all of the grid, or seeds couldn't be compared
                    random_state=settings.seed,
                    max_concurrent=settings.max_concurrent,
                ),
                trial_dirname_creator=name_of,
            ),
            run_config=tune.RunConfig(
                name=_EXPERIMENT,
                storage_path=str(folder),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a run's folder holds its own
                stop=StopsWithoutMetric(),
                callbacks=[Tells(say, settings.metric, total)],
            ),
        )
    return tuner.fit()


def _record(given: Sweep, results: Any, config: TrainConfig) -> dict[str, Any]:
    """All trials, the best first."""
    from ray.tune import ExperimentAnalysis

    from agents.tune.progress import name_of
    from agents.tune.trial import NO_METRIC

    settings, total = given.settings, config.training.total_steps
    searched = {one.name for one in read_space(given.space)}
    shared = {
        section: {key: value for key, value in values.items() if f"{section}.{key}" not in searched}
        for section, values in config.record().items()
    }
    # After Ctrl-C, what is in memory says of trials that they are over; what is on the disk is what `resume` goes by.
    kept = ExperimentAnalysis(results.experiment_path).trials or []
    over = {trial.trial_id for trial in kept if trial.status in (trial.TERMINATED, trial.ERROR)}
    trials = []
    for result, trial in zip(results, results._experiment_analysis.trials, strict=True):
        metrics = result.metrics or {}
        if metrics.get("status") == NO_METRIC:
            raise ConfigError(
                f"A training step of these runs has no metric {settings.metric!r}: it has {metrics['reason']}. "
                "Name one of them in [sweep], and begin again with --overwrite."
            )
        status = "failed" if result.error else metrics.get("status", "failed")
        if trial.trial_id not in over:
            status = UNFINISHED
        finished = status == "finished"
        trials.append(
            {
                "run": name_of(trial),
                "status": "stopped early" if status == "training" else status,
                "steps": metrics.get("steps", 0),
                "settings": {name: value for name, value in (result.config or {}).items() if "." in name},
                settings.metric: metrics.get(settings.metric),
                "after": {name[6:]: value for name, value in metrics.items() if name.startswith("after/")}
                if finished
                else {},
                **({"reason": metrics["reason"]} if "reason" in metrics else {}),
                **({"reason": str(result.error).strip().splitlines()[-1]} if result.error else {}),
            }
        )
    sign = -1.0 if settings.mode == "max" else 1.0

    def order(trial: dict[str, Any]) -> tuple[Any, ...]:
        value = trial[settings.metric]
        return trial["status"] != "finished", -trial["steps"], value is None, sign * (value or 0.0), str(trial["run"])

    trials.sort(key=order)
    return {
        "schema": SCHEMA,
        "metric": settings.metric,
        "mode": settings.mode,
        "total_steps": total,
        "trials": trials,
        "steps": {"taken": sum(trial["steps"] for trial in trials), "without_stopping": total * len(trials)},
        "settings": {"sweep": asdict(settings), "space": dict(given.space), "sections": shared},
        "machine": describe_machine(),
    }
