"""The arms: the same training steps, over other processes; and the settings that make their work the same.

The learning rate is next to nothing and every group is learned from, so that episodes stay as long as they are and each
step does the same work in all arms. All recompute old log-probs, as playing ahead needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zs_env.errors import ConfigError

__all__ = ["ARMS", "Arm", "arm_named", "write_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to spread the work.

    Attributes:
        name: What it is called.
        title: What tables say.
        learners: Learners.
        samplers: Samplers; 0 where everything is in one process.
        asynchronous: Whether the next step is played while one is learned from.
    """

    name: str
    title: str
    learners: int = 1
    samplers: int = 0
    asynchronous: bool = False

    @property
    def flags(self) -> list[str]:
        """Those of `python -m agents train`."""
        if not self.samplers:
            return ["--executor", "local"]
        flags = ["--executor", "ray", "--num-learners", str(self.learners), "--num-samplers", str(self.samplers)]
        return [*flags, "--max-staleness", "1"] if self.asynchronous else flags


ARMS: tuple[Arm, ...] = (
    Arm(name="local", title="one process"),
    Arm(name="ray-1-1", title="1 learner, 1 sampler", samplers=1),
    Arm(name="ray-1-1-async", title="1 learner, 1 sampler, a step ahead", samplers=1, asynchronous=True),
    Arm(name="ray-1-2", title="1 learner, 2 samplers", samplers=2),
    Arm(name="ray-2-1", title="2 learners, 1 sampler", learners=2, samplers=1),
)
"""Every arm; the first is what the others are compared with."""


def arm_named(name: str) -> Arm:
    """The arm of that name.

    Raises:
        ConfigError: There is none.
    """
    for arm in ARMS:
        if arm.name == name:
            return arm
    raise ConfigError(f"Unknown arm {name!r}. Available: {', '.join(arm.name for arm in ARMS)}.")


_SETTINGS = """extends = "{preset}"

[run]
threads = 1
workers = 1
checkpoint_every = 0
save_trajectories_every = 0

[imitation]
num_steps = 0

[grpo]
zero_variance = "keep"

[optimizer]
learning_rate = 1e-9
warmup_steps = 0

[training]
total_steps = {steps}
questions_per_step = {questions}
group_size = {group_size}
num_minibatches = 1
old_logprobs = "recomputed"
importance_cap = 2.0

[evaluation]
limit = 1
noise = [0.0]
sampled = false
"""


def write_settings(path: Path, *, preset: str, steps: int, questions: int, group_size: int) -> None:
    """Write the settings of all arms as a config file."""
    text = _SETTINGS.format(preset=preset, steps=steps, questions=questions, group_size=group_size)
    path.write_text(text, encoding="utf-8")
