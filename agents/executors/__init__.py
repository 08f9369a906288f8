"""Where the work of an algorithm runs."""

from agents.executors.base import Executor
from agents.executors.local import LocalExecutor

__all__ = ["Executor", "LocalExecutor"]
