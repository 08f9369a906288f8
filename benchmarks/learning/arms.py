"""The arms of the study: each one a training run of the quickstart with one thing changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from agents.config import TrainConfig, load_config, load_preset
from zs_env.errors import ConfigError

__all__ = ["ARMS", "Arm", "arm_named"]

Change = Literal["none", "shuffled_rewards", "unmasked", "wrong_kl_sign", "supervised", "no_training"]
"""What an arm does that no setting can say."""

# The mean over 40 steps of the curriculum from 0.25 to 0.5, to two digits.
_SAME_MEAN_NOISE = 0.35
_KL_COEF = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One kind of run.

    Attributes:
        name: What records are named after.
        title: What tables say.
        group: The table that it is in: "algorithms", "noise", "ablations" or "controls".
        num_seeds: Seeds of a full study: 0, 1, ….
        preset: Where its settings come from.
        settings: Section to key to value, laid over the preset.
        change: See `Change`.
        probed: Whether it is also measured closed book and with random queries.
    """

    name: str
    title: str
    group: Literal["algorithms", "noise", "ablations", "controls"]
    num_seeds: int = 3
    preset: str = "quickstart"
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    change: Change = "none"
    probed: bool = False

    def config(self, seed: int, *, total_steps: int | None = None) -> TrainConfig:
        """The settings of its run with a seed, on one thread, so that several runs can go side by side."""
        sections: dict[str, dict[str, Any]] = load_preset(self.preset)
        for section, values in self.settings.items():
            sections[section] = sections.get(section, {}) | values
        if "mix" in sections["noise"]:
            sections["noise"] = {"mix": sections["noise"]["mix"]}
        sections["run"] |= {"seed": seed, "threads": 1, "workers": 1}
        if total_steps is not None:
            sections["training"]["total_steps"] = total_steps
            for section in ("optimizer", "critic"):
                if sections.get(section, {}).get("warmup_steps", 0) >= total_steps:
                    sections[section]["warmup_steps"] = 0
            if sections.get("ppo", {}).get("value_warmup_steps", 0) >= total_steps:
                sections["ppo"]["value_warmup_steps"] = 0
        return load_config(sections, origin=f"arm {self.name}")


ARMS: tuple[Arm, ...] = (
    Arm(name="grpo", title="GRPO", group="algorithms", num_seeds=5, probed=True),
    Arm(name="ppo", title="PPO", group="algorithms", num_seeds=5, preset="quickstart-ppo"),
    Arm(name="reinforce", title="REINFORCE", group="algorithms", num_seeds=5, preset="quickstart-reinforce"),
    Arm(
        name="constant-noise",
        title=f"constant noise of {_SAME_MEAN_NOISE} (the curriculum's mean)",
        group="noise",
        settings={"noise": {"mix": [_SAME_MEAN_NOISE]}},
    ),
    Arm(name="no-noise", title="no noise", group="noise", settings={"noise": {"mix": [0.0]}}),
    Arm(
        name="no-std",
        title="advantages not divided by the std (Dr. GRPO)",
        group="ablations",
        settings={"grpo": {"std": "none"}},
    ),
    Arm(name="unmasked", title="retrieved tokens in the loss (mask off)", group="ablations", change="unmasked"),
    Arm(
        name="kl",
        title=f"KL penalty of {_KL_COEF}, right sign",
        group="ablations",
        settings={"training": {"kl_coef": _KL_COEF}},
    ),
    Arm(
        name="wrong-kl",
        title=f"KL penalty of {_KL_COEF}, wrong sign",
        group="ablations",
        settings={"training": {"kl_coef": _KL_COEF}},
        change="wrong_kl_sign",
    ),
    Arm(name="start", title="no training (the warm start)", group="controls", num_seeds=1, change="no_training"),
    Arm(name="supervised", title="supervised warm start, continued", group="controls", change="supervised"),
    Arm(name="shuffled", title="RL with shuffled rewards", group="controls", change="shuffled_rewards"),
)
"""Every arm of the study."""


def arm_named(name: str) -> Arm:
    """The arm of that name.

    Raises:
        ConfigError: There is none.
    """
    for arm in ARMS:
        if arm.name == name:
            return arm
    raise ConfigError(f"Unknown arm {name!r}. Available: {', '.join(arm.name for arm in ARMS)}.")
