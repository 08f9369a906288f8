"""A training run from settings to summary: measure, train, measure again; or go on where one was stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from agents.assembly import Evaluation, load_model, make_algorithm, make_executor, starting_policy, training_questions
from agents.checkpoints import Checkpoints
from agents.config import TrainConfig
from agents.errors import TrainingError, WorkersLostError
from agents.executors import Executor
from agents.executors.placement import check_this_machine
from agents.executors.watched import WatchedExecutor
from agents.interrupts import Interrupted, StopSignals
from agents.loop import TrainingLoop, write_page
from agents.lora import require_peft
from agents.lora_files import BASE_LINK
from agents.policy import Policy
from agents.resume import (
    ResumePoint,
    check_findable,
    check_fingerprints,
    check_settings,
    find_point,
    local_sources,
    resume_command,
)
from agents.runs import SCHEMA, START_SCHEMA, Logger, RunFolder, TensorBoardLogger, describe_machine
from zs_env.errors import ConfigError
from zs_env.files import point_to
from zs_env.types import SearchEngine

__all__ = ["make_algorithm", "make_executor", "train"]

Say = Callable[[str], None]

_LATER = "http://127.0.0.1:9"


def train(
    config: TrainConfig,
    run: RunFolder,
    *,
    logger: Logger | None = None,
    say: Say | None = None,
    executor_for: Callable[[TrainConfig, Policy, SearchEngine], Executor] | None = None,
    before: Mapping[str, Any] | None = None,
    stop: StopSignals | None = None,
) -> dict[str, Any]:
    """Train by the settings, and leave everything in the run's folder; or go on with a run that was stopped.

    With the local executor, a run that was killed at any point and goes on ends as it would have without, bit by bit.

    Args:
        config: All settings. Of a run that goes on, see `agents.resume.resumed_sections`.
        run: Its folder; it says whether the run begins or goes on.
        logger: Where curves go; TensorBoard if left out.
        say: Is told what is going on, in a line or two; nothing if left out.
        executor_for: What makes the executor; left out, the one that the settings name.
        before: What was measured of the same model on the same questions already, instead of measuring it again.
        stop: What notes Ctrl-C and SIGTERM; given, its `request` stops the run from another thread, as the first does.

    Returns:
        The record that `summary.json` holds.

    Raises:
        Interrupted: Ctrl-C, SIGTERM, or a request; see `TrainingLoop.run` for other errors of a step.
    """
    tell = say or (lambda line: None)
    try:
        with stop or StopSignals(tell) as signals, ExitStack() as closing:
            training = _Run(config, run, tell, signals, closing)
            try:
                return training.train(logger, executor_for, before)
            except KeyboardInterrupt as interrupt:
                if str(interrupt) or not (run.is_open and (run.path / "config.json").is_file()):
                    raise
                raise Interrupted(training.how_to_go_on(), signals.exit_code) from interrupt
    finally:
        run.close()


class _Run:
    def __init__(self, config: TrainConfig, run: RunFolder, say: Say, signals: StopSignals, closing: ExitStack) -> None:
        self.config, self.run, self.say, self.signals, self.closing = config, run, say, signals, closing
        self.began = time.perf_counter()
        self.loop: TrainingLoop | None = None
        self.events: list[dict[str, Any]] = []
        self.point: ResumePoint | None = None

    def train(
        self,
        logger: Logger | None,
        executor_for: Callable[[TrainConfig, Policy, SearchEngine], Executor] | None,
        before: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """See `train`."""
        run, say = self.run, self.say
        if run.resume:
            run.open()
            self.config = check_settings(self.config, run, say)
            if summary := run.read("summary.json"):
                say(f"The run {str(run.path)!r} is finished: there is nothing to go on with.")
                if not run.has_page_of_end:
                    write_page(run, say)
                return summary
        engine = self._check()
        checkpoints = Checkpoints(run.path, keep=self.config.run.keep_checkpoints)
        policy = self._policy(checkpoints)
        config = self.config = self.config.fitted(policy.max_context_tokens, say)
        trained_on, evaluation = training_questions(config), Evaluation(config, policy, engine)
        fingerprints = self._fingerprints(policy, trained_on.fingerprint, evaluation.fingerprint)
        compute = policy.describe(config.learner.packing)
        say(f"Episodes are {compute['layout']}; attention: {compute['attention']}.")
        made = executor_for or partial(make_executor, note=self._note, say=say)
        executor = WatchedExecutor(made(config, policy, engine))
        self.closing.callback(getattr(executor, "close", lambda: None))
        evaluation.sampler, evaluation.play = getattr(executor, "sampler", None), getattr(executor, "play", None)
        trainer = make_algorithm(config, executor, trained_on)
        record = self._begin(fingerprints)
        self._write_events()
        if self.point is not None and self.point.policy not in (None, policy):
            # Only now, so that a reference model is a copy of what the run began with.
            policy.take_weights(self.point.policy)
        measured = self._before(evaluation, before)
        first_step = self.point.step if self.point is not None else None
        logger = logger or TensorBoardLogger(run.path, first_step=first_step)
        loop = self.loop = TrainingLoop(
            config,
            record,
            trainer,
            executor=executor,
            policy=policy,
            run=run,
            checkpoints=checkpoints,
            logger=logger,
            signals=self.signals,
            say=say,
            kept={"before": measured, "fingerprints": fingerprints},
        )
        try:
            loop.start(self.point, began=self.began)
            self.point = None  # its tensors were copied
            loop.run()
            after = self._measured("after", lambda: loop.surely(lambda: evaluation.run("after", say)))
        finally:
            loop.close(wait=False)
            logger.close()
        fingerprints["model_after"] = policy.fingerprints()["model"]
        scaled = config.run.executor != "local"
        summary = {
            "schema": SCHEMA,
            "seed": config.run.seed,
            "seconds": loop.seconds,
            "episodes": _count_episodes(config, run),
            "before": measured,
            "after": after,
            "alarms": run.read_lines("alarms.jsonl"),
            **({"workers": executor.workers, "events": run.read_lines("events.jsonl")} if scaled else {}),
            "settings": record,
            "fingerprints": fingerprints,
            "compute": compute,
            "machine": describe_machine(),
        }
        run.write("summary.json", summary)
        write_page(run, say)
        return summary

    def _note(self, kind: str, message: str) -> None:
        """Write down what happened to a process; before there is a folder for that, once there is one."""
        self.say(message)
        self.events.append({"step": self.loop.done if self.loop else None, "kind": kind, "message": message})
        self._write_events()

    def _write_events(self) -> None:
        while self.run.is_open and self.events:
            self.run.add_line("events.jsonl", self.events.pop(0))

    def _check(self) -> SearchEngine:
        """What is quick to check comes first, so that a wrong setting is told at once."""
        config = self.config
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        self.run.check_sources(config.model.path, config.questions.source, config.evaluation.source)
        if config.model.dtype == "float16":
            raise ConfigError(
                "Training needs dtype 'float32' or 'bfloat16'; got 'float16', whose gradients would vanish or overflow "
                "without a scaled loss."
            )
        if config.lora.rank:
            require_peft()
        if config.run.executor == "ray":
            from agents.sharded import check_shardable

            check_shardable(config)
            gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
            check_this_machine(config.scale, config.run.device, cpus=os.cpu_count() or 1, gpus=gpus)
        # What the run's own simulators will serve can't be reached yet.
        unknown = config.scale.num_simulators and config.search.base_url is None
        engine = (replace(config.search, base_url=_LATER) if unknown else config.search).make_engine()
        config.episode.settings(config.search.topk)
        config.sampling.settings().check_for_training()
        return engine

    def _policy(self, checkpoints: Checkpoints) -> Policy:
        """What the executor is made of: the starting model wherever that is needed, else the newest checkpoint's."""
        config, run = self.config, self.run
        if not run.resume:
            return starting_policy(config, say=self.say)
        # Whoever names another model wants to hear that it is another.
        recorded = run.read("config.json")["model"]
        named = config.model.source != recorded["source"]
        first = (
            bool(config.training.kl_coef) and not config.lora.rank
        )  # with LoRA a checkpoint leads to the first weights
        needed = named or first or checkpoints.newest is None
        check_findable(config, run.read("start.json"), model=needed)
        base = config.model.path if named else config.model.base if config.model.base != recorded.get("base") else None
        base = base if config.lora.rank else None
        self.point = find_point(run, checkpoints, lambda folder: load_model(config, str(folder), base=base), self.say)
        if self.point.policy is None:
            self.say("There is no checkpoint yet: the run begins again at step 0.")
        else:
            self.say(f"Going on after {self.point.step} of {config.training.total_steps} training steps.")
        if needed or self.point.policy is None:
            return starting_policy(config, say=self.say)
        return self.point.policy

    def _fingerprints(self, policy: Policy, training: str, evaluation: str | None) -> dict[str, Any]:
        """Of what the run begins with; of one that goes on, having made sure that it is the same."""
        questions = {"training": training, "evaluation": evaluation}
        if self.point is None:
            return {"questions": questions, **policy.fingerprints()}
        began: dict[str, Any] = self.point.start["fingerprints"]
        check_fingerprints(
            "The training questions are", "--questions, --split and --limit", began["questions"]["training"], training
        )
        check_fingerprints(
            "The evaluation's questions are",
            "--eval-questions, --eval-split and --eval-limit",
            began["questions"]["evaluation"],
            evaluation,
        )
        if policy is not self.point.policy:
            found = policy.fingerprints()
            check_fingerprints("The starting model's weights are", "--model", began["model"], found["model"])
            check_fingerprints("The starting model's tokenizer is", "--model", began["tokenizer"], found["tokenizer"])
        return dict(began)

    def _begin(self, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
        """Write down what the run begins with, in an empty folder; of one that goes on, what has changed.

        Returns:
            All settings, as `config.json` holds them.
        """
        run, record = self.run, self.config.record()
        if self.point is None:
            run.open()
            start = {"schema": START_SCHEMA, "fingerprints": fingerprints, "local": local_sources(self.config)}
            run.write("start.json", start | {"search_paths": sorted(self.config.search.paths)})
            if self.config.lora.rank and Path(self.config.model.source).exists():
                point_to(run.path / BASE_LINK, Path(self.config.model.path).resolve())
            run.write("config.json", record)
            return record
        recorded = run.read("config.json")
        for name in ("model", "questions", "evaluation"):  # by content they are what they were
            record[name]["source"] = recorded[name]["source"]
        record["model"]["base"] = recorded["model"].get("base")
        if json.loads(json.dumps(record)) != recorded:
            run.write("config.json", record)
        return record

    def _before(self, evaluation: Evaluation, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The measurement before training: the one that is known, or a new one."""
        before = self.point.state.get("before") if self.point is not None else None
        if before is None and self.point is not None:
            try:
                before = self.run.read("before.json") or None
            except ConfigError:
                self.say("before.json is broken: measuring again.")
        if before is None:
            before = self._measured("before", lambda: evaluation.run("before", self.say)) if given is None else given
        self.run.write("before.json", before)
        return dict(before)

    def _measured(self, when: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return measure()
        except (TrainingError, WorkersLostError) as error:
            raise TrainingError(
                f"{error} So the measurement {when} training broke off. {self.how_to_go_on()}"
            ) from error

    def how_to_go_on(self) -> str:
        """The command."""
        needs_model = bool(self.config.training.kl_coef) or not self.run.checkpoint.exists()
        return f"Go on with: {resume_command(self.run, self.config, model=needs_model)}"


def _count_episodes(config: TrainConfig, run: RunFolder) -> dict[str, int]:
    """Training episodes that were played, and those of them that failed for reasons that aren't the policy's."""
    lines = run.read_lines("metrics.jsonl")
    each = config.training.questions_per_step * config.training.group_size
    played = sum(line["metrics"].get("num_episodes", each) for line in lines)  # dynamic sampling plays more
    return {"num_played": int(played), "num_failed": int(sum(line["metrics"]["num_failed"] for line in lines))}
