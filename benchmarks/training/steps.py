"""What passes between a side and whoever times it: one step, and when to take the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.training.workload import Lengths, Scenario

__all__ = ["CountedTurns", "Job", "Step", "TakeSteps", "Turns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One training step.

    Attributes:
        rollout_s: Seconds until all episodes were played (TRL: and scored); 0.0 of the bare model.
        update_s: Seconds of all that came after.
        step_s: Both together.
        lengths: What it held.
        rollout_peak_mb: The most memory meanwhile, in 10⁶ bytes; see `memory.memory_mb`.
        update_peak_mb: The same of the update.
    """

    rollout_s: float
    update_s: float
    step_s: float
    lengths: Lengths
    rollout_peak_mb: float = 0.0
    update_peak_mb: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a side is to train.

    Attributes:
        model: A folder in Hugging Face format.
        scenario: The lengths.
        seed: Of texts, rewards and sampling.
        device: Where it is trained: "cpu" or "cuda".
    """

    model: Path
    scenario: Scenario
    seed: int = 0
    device: str = "cpu"


class Turns(Protocol):
    """Says when a side takes a step, so that sides can take theirs one after the other."""

    def begin(self) -> bool:
        """Wait until it is this side's turn. The first call says that everything is loaded.

        Returns:
            Whether to take a step; False ends the run.
        """

    def report(self, step: Step) -> None:
        """Take what the step cost."""


TakeSteps = Callable[[Job, dict[str, object], Turns], None]
"""What each side is: takes steps, by an arm's settings, as long as it is told to."""


@dataclass(slots=True)
class CountedTurns:
    """So many steps, one right after the other.

    Attributes:
        left: Steps that are still to be taken.
        steps: Those that were.
    """

    left: int
    steps: list[Step] = field(default_factory=list)

    def begin(self) -> bool:
        """See `Turns`."""
        self.left -= 1
        return self.left >= 0

    def report(self, step: Step) -> None:
        """See `Turns`."""
        self.steps.append(step)
