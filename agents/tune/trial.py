"""One trial of a sweep: a training run in a thread, step by step in Tune's hands. This file imports ray."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from agents.config import load_config
from agents.errors import CollapseError, NonFiniteError, RunBusyError
from agents.interrupts import Interrupted, StopSignals
from agents.runs import RunFolder, TensorBoardLogger
from agents.train import train
from agents.tune.space import lay_over

__all__ = ["NO_METRIC", "TrainingTrial"]

NO_METRIC = "no such metric"
"""The status of a trial whose training steps don't have what trials are compared by."""

_OF_SEARCHES = "supports_query_share"
_BUSY_S = 60.0
_STOP_WAIT_S = 570.0  # Tune kills an actor that takes more than 600 s to stop


class _HandOver:
    """A logger that hands each step's metrics to Tune, and lets training go on once Tune wants the next.

    TensorBoard gets them, too.
    """

    def __init__(self, run: RunFolder) -> None:
        self.results: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.go_on = threading.Semaphore(0)
        self._run = run
        self._board: TensorBoardLogger | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand over a step's metrics, and wait."""
        if self._board is None:
            self._board = TensorBoardLogger(self._run.path, first_step=step if self._run.resume else None)
        self._board.log(step, metrics)
        self.results.put(("step", (step + 1, dict(metrics))))
        self.go_on.acquire()

    def rewind(self, step: int) -> None:
        """The run went back: TensorBoard is told, and Tune sees the steps from there on once more."""
        if self._board is not None:
            self._board.rewind(step)

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()


class TrainingTrial(tune.Trainable):
    """Trains by a sweep's settings and a trial's own, and reports each step.

    Its state is its run's folder, and not a checkpoint of Tune's: a trial that is begun again goes on from its run's
    newest checkpoint, and one whose run is finished is finished at once. When Tune stops it, the step under way ends,
    and the run is saved.
    """

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], *, root: str, sections: Mapping[str, Any], metric: str
    ) -> None:
        """Begin the run, or go on with it."""
        self._metric = metric
        number = self.trial_id.rpartition("_")[2]
        name = f"trial_{number}"
        folder = Path(root) / name
        resume = all((folder / file).is_file() for file in ("config.json", "start.json"))
        self._run = RunFolder(name, root=Path(root), resume=resume, overwrite=not resume and folder.exists())
        self._config = load_config(lay_over(sections, config), origin=f"the settings of {name}")
        self._hand_over = _HandOver(self._run)
        self._signals = StopSignals(lambda line: None)
        self._last: dict[str, Any] = {}
        self._first = True
        self._thread = threading.Thread(target=self._train, name=name, daemon=True)
        self._thread.start()

    def _train(self) -> None:
        results = self._hand_over.results
        try:
            summary = _once_free(lambda: train(self._config, self._run, logger=self._hand_over, stop=self._signals))
            results.put(("end", summary))
        except Interrupted:
            results.put(("stopped", None))
        except BaseException as error:
            results.put(("error", error))

    def step(self) -> dict[str, Any]:
        """The metrics of the next training step; at the end also what was measured after training."""
        if not self._first:
            self._hand_over.go_on.release()
        self._first = False
        kind, value = self._hand_over.results.get()
        if kind == "step":
            steps, metrics = value
            if self._metric not in metrics and not _lacks_for_now(self._metric, metrics):
                # The same for all trials, so the sweep is to end; see `sweep`.
                return {"status": NO_METRIC, "reason": ", ".join(sorted(metrics)), "run": self._run.name, "done": True}
            here = {**metrics, "steps": steps, "run": self._run.name, "status": "training"}
            # What trials are compared by is the newest that there is; this step has none to be stopped for.
            self._last = {name: self._last[name] for name in (self._metric,) if name in self._last} | here
            return here
        if kind == "error" and isinstance(value, (NonFiniteError, CollapseError)):
            # What the settings led to, not a failure of the sweep.
            return {**self._known(), "status": "broke off", "reason": str(value), "done": True}
        if kind == "error":
            raise value
        if kind == "stopped":
            return {**self._known(), "status": "stopped", "done": True}
        measured = {
            f"after/{noise}/{name}": number
            for noise, record in value["after"].items()
            for name, number in record.items()
            if isinstance(number, (int, float))
        }
        return {**self._known(), **measured, "status": "finished", "done": True}

    def _known(self) -> dict[str, Any]:
        """The metrics of the newest step; of one that was taken before this process began, from the run's folder."""
        known = dict(self._last)
        lines = [] if self._metric in known else self._run.read_lines("metrics.jsonl")
        if lines and not known:
            known = {**lines[-1]["metrics"], "steps": lines[-1]["step"] + 1}
        having = (line["metrics"] for line in reversed(lines) if self._metric in line["metrics"])
        newest: Mapping[str, Any] = next(having, {})
        kept = {name: newest[name] for name in (self._metric,) if name in newest}
        return {"steps": 0, "run": self._run.name, **kept, **known}

    def cleanup(self) -> None:
        """End the step under way and save the run."""
        self._signals.request()
        self._hand_over.go_on.release()
        self._thread.join(_STOP_WAIT_S)


def _lacks_for_now(metric: str, metrics: Mapping[str, float]) -> bool:
    """Whether a step may lack what others have: nothing was learned from, or nothing was searched."""
    return not metrics.get("num_updates") or (metric == _OF_SEARCHES and not metrics.get("searches_per_episode"))


def _once_free(begin: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `begin` gives; waits for a process of a sweep that was killed, which may take a moment to be gone."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            return begin()
        except RunBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
