"""An executor that knows whether the weights have moved since a step began."""

from __future__ import annotations

from typing import Any

from agents.errors import HalfUpdatedError
from agents.executors.base import Executor

__all__ = ["WatchedExecutor"]


class WatchedExecutor:
    """Passes everything on to another executor, and counts.

    Args:
        executor: Who does the work.

    Attributes:
        num_updates: Optimizer steps, of policy or critic, that were applied, also in part; set to 0 as a step begins.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.num_updates = 0
        self._unplayed: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def rollout(self, *given: Any, **options: Any) -> Any:
        """See `Executor.rollout`."""
        try:
            return self._executor.rollout(*given, **options)
        except BaseException as error:
            self._unplayed = error
            raise

    def ended_rollout(self, error: BaseException) -> bool:
        """Whether a rollout ended with this error: also one that was played ahead, while something else went on."""
        return error is self._unplayed

    def update(self, *given: Any, **options: Any) -> Any:
        """See `Executor.update`."""
        return self._counted(self._executor.update, *given, **options)

    def update_critic(self, *given: Any, **options: Any) -> Any:
        """See `Executor.update_critic`."""
        return self._counted(self._executor.update_critic, *given, **options)

    def _counted(self, update: Any, *given: Any, **options: Any) -> Any:
        try:
            metrics = update(*given, **options)
        except HalfUpdatedError:
            self.num_updates += 1
            raise
        self.num_updates += 1
        return metrics
