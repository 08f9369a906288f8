"""The training steps of a run: log, save, watch for a collapse, and say how to go on when one breaks off."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

from agents.ahead import PlayAhead
from agents.alarms import CollapseAlarm
from agents.algorithm import Algorithm, TrainingStep
from agents.checkpoints import Checkpoints, generator_states, read_state, restore_generators
from agents.config import TrainConfig
from agents.errors import (
    CheckpointError,
    CollapseError,
    NonFiniteError,
    RolloutError,
    TrainingError,
    WorkersLostError,
    first_line,
)
from agents.executors.watched import WatchedExecutor
from agents.interrupts import Interrupted, StopSignals
from agents.policy import Policy
from agents.resume import LOGS, ResumePoint, cut_logs, resume_command
from agents.runs import Logger, RunFolder, checkpoint_settings
from agents.trajectory import Trajectory
from zs_env.errors import ZeroSearchError
from zs_env.files import sync_file

__all__ = ["TrainingLoop", "is_out_of_memory", "write_page"]

T = TypeVar("T")

_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


class TrainingLoop:
    """Takes training steps, and keeps what a run leaves of them.

    Args:
        config: All settings.
        record: The same, as `config.json` holds them.
        trainer: Whose steps.
        executor: Where the trainer's work runs.
        policy: What is trained.
        run: The run's folder.
        checkpoints: Its checkpoints.
        logger: Where curves go.
        signals: Whether to stop.
        say: Is told what is going on.
        kept: What every checkpoint holds beside the state: fingerprints, and the measurement before.

    Attributes:
        done: Training steps that lie behind.
        seconds: `rollout` and `update`, over all steps; `total`, everything that led to the newest checkpoint or step.
    """

    def __init__(
        self,
        config: TrainConfig,
        record: Mapping[str, Any],
        trainer: Algorithm,
        *,
        executor: WatchedExecutor,
        policy: Policy,
        run: RunFolder,
        checkpoints: Checkpoints,
        logger: Logger,
        signals: StopSignals,
        say: Callable[[str], None],
        kept: Mapping[str, Any],
    ) -> None:
        self.done = 0
        self._config, self._record, self._trainer, self._executor = config, record, trainer, executor
        self._policy, self._run, self._checkpoints, self._kept = policy, run, checkpoints, kept
        self._logger, self._signals, self._say = logger, signals, say
        self._alarm = CollapseAlarm(config.alarm)
        self._seconds = {"rollout": 0.0, "update": 0.0}
        self._earlier, self._began = 0.0, time.perf_counter()
        self._ahead: PlayAhead | None = None
        self._restarts = config.run.executor == "ray"
        self._num_restarts, self._farthest = 0, 0

    @property
    def seconds(self) -> dict[str, float]:
        """See the class."""
        return {**self._seconds, "total": self._earlier + time.perf_counter() - self._began}

    def start(self, point: ResumePoint | None, *, began: float) -> None:
        """Take up the state of a checkpoint, if there is one.

        Args:
            point: Where the run goes on; None if it begins.
            began: When this process began to work for it, by `time.perf_counter`.
        """
        self._began = began
        if point is None or point.folder is None:
            return
        state = point.state
        self.done = self._farthest = point.step
        try:
            self._executor.load_state(state["executor"], point.folder, weight_version=point.step)
        except WorkersLostError as lost:
            if not self._restarts:
                raise
            self._begin_again(lost)
        self._take_up(state)

    def _take_up(self, state: Mapping[str, Any]) -> None:
        """What this process itself keeps in a checkpoint."""
        self._alarm.load_state_dict(state["alarm"])
        self._seconds = {name: state["seconds"][name] for name in self._seconds}
        self._earlier = state["seconds"]["total"]
        restore_generators(state["generators"])

    def run(self) -> None:
        """All steps that are left, and a checkpoint at the end.

        Raises:
            Interrupted: It was asked to stop; the message says how to go on, as those of all others do.
            CollapseError: The alarm was told to stop it.
            CheckpointError: No checkpoint could be written.
            TrainingError: A step ran out of memory, or a file could not be written.
            NonFiniteError: Something isn't finite.
            RolloutError: Too many episodes failed.
        """
        total = self._config.training.total_steps
        options: dict[str, Any] = {"initial": self.done, "total": total, "unit": "step", "file": sys.stderr}
        # disable=None: the bar is drawn on a terminal only.
        with tqdm(desc="training", disable=None, **options) as bar:
            self.surely(lambda: self._take_steps(bar))

    def surely(self, work: Callable[[], T]) -> T:
        """Do something, and do it again from the newest checkpoint as often as workers are lost over it.

        Raises:
            TrainingError: They are lost too often, or others can't take their place.
        """
        while True:
            try:
                return work()
            except WorkersLostError as lost:
                if not self._restarts:
                    raise
                self._begin_again(lost)

    def _take_steps(self, bar: Any) -> None:
        total = self._config.training.total_steps
        if self._restarts and self._checkpoints.newest is None:
            self.save()  # what learners that are lost before the next checkpoint begin again from
        if self._ahead is None:
            self._play_ahead()
        bar.update(self.done - bar.n)
        while self.done < total:
            with self._signals.deferred():
                metrics = self._take_step(self.done)
            if self.done > self._farthest:  # steps that are taken anew lead nowhere yet
                self._farthest, self._num_restarts = self.done, 0
            if self._signals.received is not None:
                self.save()
                raise self._stopped(f"Stopped after training step {self.done - 1} (of {total}, from 0), as asked.")
            bar.set_postfix_str(f"exact match {metrics['exact_match']:.2f}, reward {metrics['reward_mean']:.2f}")
            bar.update()
        with self._signals.deferred():
            self.save()

    def close(self, *, wait: bool) -> None:
        """End what works beside the steps; wait for what it is at, if the executor is to work on."""
        if self._ahead is not None:
            self._ahead.close(wait=wait)
            self._ahead = None

    def _play_ahead(self) -> None:
        """Let coming steps be played from where the run is."""
        staleness = self._config.scale.max_staleness
        if staleness:
            self._ahead = PlayAhead(
                self._trainer.play,
                self._executor,
                max_staleness=staleness,
                first_step=self.done,
                total_steps=self._config.training.total_steps,
            )
            self._trainer.episodes_of = self._ahead.take

    def _begin_again(self, lost: WorkersLostError) -> None:
        """Go back to the newest checkpoint with other processes: what came after it is done anew, and counted once.

        Raises:
            TrainingError: That has happened too often without a step in between, or it can't be done.
        """
        step, most = self.done, self._config.scale.max_replacements
        where = f"In training step {step} (of {self._config.training.total_steps}, from 0)."
        how = f"{where} {self._last_good()} Once that is mended, go on with: {self._command()}"
        newest = self._checkpoints.newest
        began, state = 0 if newest is None else self._checkpoints.step_of(newest), None
        back = "begins again" if newest is None else f"goes back from step {step} to its checkpoint after step {began}"
        self.close(wait=True)
        while True:
            self._num_restarts += 1
            if self._num_restarts > most:
                raise TrainingError(
                    f"{lost} The learners have begun again {most} times since the last step that was new, as often as "
                    f"max_replacements allows. {how}"
                ) from lost
            message = f"{lost} The run {back}."
            self._say(message)
            self._run.add_line("events.jsonl", {"step": step, "kind": "learners_restarted", "message": message})
            try:
                self._executor.restart_learners()
                if newest is not None:
                    state = read_state(newest)
                    self._executor.load_state(state["executor"], newest, weight_version=began)
                break
            except WorkersLostError as error:
                lost = error
            except (ZeroSearchError, OSError) as error:
                raise TrainingError(f"{lost} The learners could not begin again: {error} {how}") from error
        if state is None:
            return
        self._take_up(state)
        self._began = time.perf_counter()
        self.done = began
        cut_logs(self._run, state, began, self._say)
        self._logger.rewind(began)

    def _take_step(self, step: int) -> dict[str, float]:
        """A step with all that follows from it."""
        self._executor.num_updates = 0
        try:
            result = self._trainer.step(step)
        except BaseException as error:
            if isinstance(error, WorkersLostError) and self._restarts:
                raise
            explained = self._explain(step, error)
            if explained is error:
                raise
            raise explained from error
        try:
            alarms = self._log(step, result)
        except OSError as error:
            raise TrainingError(
                f"What training step {step} gave can't be written to {self._run.path}: {error}. {self._last_good()} "
                f"Once there is room again, go on with: {self._command()}"
            ) from error
        self.done = step + 1
        stops = bool(alarms) and self._config.alarm.action == "stop"
        every = self._config.run.checkpoint_every
        if stops or (every and self.done % every == 0):
            self.save()
        if stops:
            raise CollapseError(
                f"{' '.join(alarms)} So the alarm stopped the run after training step {step}. The policy as it is then "
                f"is in {self._run.checkpoint}. To go on all the same: {self._command()} (with --alarm-action warn to "
                f"be told only); to start a new run from it: {self._new_run()}"
            )
        return result.metrics

    def _log(self, step: int, result: TrainingStep) -> list[str]:
        """Write down what a step gave.

        Returns:
            What the alarm said.
        """
        metrics, run = result.metrics, self._run
        for name in self._seconds:
            self._seconds[name] += metrics[f"{name}_s"]
        self._logger.log(step, metrics)
        every, settings = self._config.run.save_trajectories_every, self._config.run
        if every and (step % every == 0 or step == self._config.training.total_steps - 1):
            run.add_trajectories(step, _spread(result.trajectories, settings.num_saved_trajectories))
        alarms = self._alarm.check(step, metrics)
        for alarm in alarms:
            run.add_line("alarms.jsonl", alarm.to_json())
            self._say(f"Alarm ({alarm.kind}): {alarm.message}")
        run.add_line("metrics.jsonl", {"step": step, "metrics": metrics})
        return [alarm.message for alarm in alarms]

    def save(self, *, prune: bool = True) -> None:
        """Write a checkpoint, unless the newest is of this step already, and the page.

        Raises:
            CheckpointError: It can't be written; the message says how to go on.
        """
        newest = self._checkpoints.newest
        if newest is not None and self._checkpoints.step_of(newest) == self.done:
            if prune:  # a kill may have come before it
                self._checkpoints.prune()
            return
        try:
            logs = [self._run.path / name for name in LOGS]
            for path in logs:
                if path.exists():
                    sync_file(path)
            state = {
                **self._kept,
                "step": self.done,
                "alarm": self._alarm.state_dict(),
                "seconds": self.seconds,
                "generators": generator_states(),
                "files": {path.name: path.stat().st_size for path in logs if path.exists()},
            }
            self._executor.sync_policy()
            self._checkpoints.save(
                self._policy,
                state,
                settings=checkpoint_settings(self._record),
                executor_state=self._executor.save_state,
                prune=prune,
            )
        except (CheckpointError, OSError) as error:
            raise CheckpointError(f"{error} Once there is room again, go on with: {self._command()}") from error
        write_page(self._run, self._say)

    def _explain(self, step: int, error: BaseException) -> BaseException:
        """What to raise for an error inside a step: what is saved, and how to go on."""
        where = f"In training step {step} (of {self._config.training.total_steps}, from 0)."
        good = self._keep_boundary(error)
        if isinstance(error, KeyboardInterrupt):
            return self._stopped(f"{error} {where} {good}".strip())
        if is_out_of_memory(error):
            flag, tokens = "--micro-batch-tokens", self._config.learner.micro_batch_tokens
            if self._executor.ended_rollout(error):
                flag, tokens = "--max-batch-tokens", self._config.sampling.max_batch_tokens
            return TrainingError(
                f"Out of memory: {first_line(error)} {where} {good} Go on with less of it at once: {self._command()} "
                f"{flag} {max(tokens // 2, 1)}"
            )
        if isinstance(error, NonFiniteError):
            return NonFiniteError(
                f"{error} {where} {good} Going on from there would meet it again; start a new run with a lower "
                f"learning rate: {self._new_run()} --learning-rate {self._config.optimizer.learning_rate / 2:g}"
            )
        how = f"{where} {good} Once that is mended, go on with: {self._command()}"
        if isinstance(error, RolloutError):
            return RolloutError(f"{error} {how}")
        if isinstance(error, (OSError, ZeroSearchError)):
            return TrainingError(f"{error} {how}")
        error.add_note(how)  # a mistake in somebody's code: its traceback says more than we could
        return error

    def _keep_boundary(self, error: BaseException) -> str:
        """Save the weights if they are still those before the step, and say where good ones are."""
        if self._executor.num_updates or self._signals.urgent:
            return self._last_good()
        try:
            # Weights that give NaN are no reason to delete those of before.
            self.save(prune=not isinstance(error, NonFiniteError))
        except (CheckpointError, WorkersLostError) as failed:
            return f"{failed} {self._last_good()}" if isinstance(failed, WorkersLostError) else str(failed)
        return f"The policy as it is then is in {self._run.checkpoint}."

    def _last_good(self) -> str:
        newest = self._checkpoints.newest
        if newest is None:
            return "There is no checkpoint yet."
        return f"The last good checkpoint is {newest}, after {self._checkpoints.step_of(newest)} steps."

    def _stopped(self, message: str) -> Interrupted:
        good = "" if str(self._run.checkpoint) in message else f" {self._last_good()}"
        return Interrupted(f"{message}{good} Go on with: {self._command()}", self._signals.exit_code)

    def _command(self) -> str:
        needs_model = bool(self._config.training.kl_coef) or self._checkpoints.newest is None
        return resume_command(self._run, self._config, model=needs_model)

    def _new_run(self) -> str:
        return f"python -m agents train --model {self._run.checkpoint} --run-name NEW"


def write_page(run: RunFolder, say: Callable[[str], None]) -> None:
    """Write `report.html`. No run is lost for it: an error is told in a line."""
    from agents.report_html import write_report

    try:
        write_report(run.path)
    except Exception as error:
        say(f"{run.path / 'report.html'} could not be written ({type(error).__name__}: {first_line(error)}).")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that memory ran out: a GPU's or the machine's."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, (RuntimeError, OSError)) and any(words in str(error).lower() for words in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def _spread(trajectories: Sequence[Trajectory], count: int) -> list[Trajectory]:
    """Some trajectories, evenly over the groups."""
    if count >= len(trajectories):
        return list(trajectories)
    return [trajectories[index * len(trajectories) // count] for index in range(count)]
