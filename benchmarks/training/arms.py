"""The arms: each one a way to take the same training step. Ours, TRL's, and the bare model's.

Ours are sections of a run's settings (`agents.config`), laid over what the workload asks for; an arm that needs options
which this version doesn't have is skipped, and said to be.

TRL is given the fastest of the settings that were tried with SmolLM2-135M on a CPU. Gradient checkpointing, which it
has on by default, is off; there is no KL term, so it keeps no reference model; micro-batches are of 8 short episodes or
2 long ones (8 long ones take as long and nearly three times the memory). Weights in bf16 have no fp32 masters in TRL:
that is faster than its autocast, and at small learning rates most of an update is lost to rounding. Liger kernels need
a GPU. Neither side generates with vLLM.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Literal

from agents.config import check_sections
from agents.samplers.transformers import TransformersSampler
from zs_env.errors import ConfigError

__all__ = ["ARMS", "Arm", "Side", "arm_named", "default_arms"]

Side = Literal["ours", "trl", "plain"]
"""Whose step it is: ours, that of TRL's `GRPOTrainer`, or forward and backward of the stock model alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to take a step.

    Attributes:
        name: What it is called.
        side: See `Side`.
        title: What tables say.
        scenarios: Where it runs if no arms are named.
        settings: Of ours: section to key to value, and under "sampler" what `TransformersSampler` is to be given beside
            what the sections say. Of TRL: `dtype` of the weights ("float32"), `autocast` to bf16
            (False), `rows` of a micro-batch (8), `attention` ("sdpa"), `compile` (False), `fused_optimizer` (True). Of
            the bare model: `dtype` and `rows`.
        on_gpu: What of that is otherwise on a GPU; of ours, sections are laid over those of `settings`.
    """

    name: str
    side: Side
    title: str
    scenarios: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    on_gpu: dict[str, Any] = field(default_factory=dict)

    def settings_on(self, device: str) -> dict[str, Any]:
        """The settings on a device, "cpu" or "cuda"."""
        merged = dict(self.settings)
        for name, value in self.on_gpu.items() if device != "cpu" else ():
            merged[name] = merged.get(name, {}) | value if isinstance(value, dict) else value
        return merged

    @property
    def missing(self) -> str | None:
        """Why it can't run with this version of `agents`; None if it can."""
        if self.side != "ours":
            return None
        sections = dict(self.settings)
        unknown = sorted(set(sections.pop("sampler", {})) - set(signature(TransformersSampler).parameters))
        if unknown:
            return f"arm {self.name}: TransformersSampler has no {', '.join(map(repr, unknown))}."
        try:
            check_sections(sections, origin=f"arm {self.name}")
        except ConfigError as error:
            return str(error)
        return None


_FAST: dict[str, dict[str, Any]] = {
    "model": {"dtype": "bfloat16"},
    "learner": {"packing": "auto", "micro_batch_tokens": 4_096},
}
"""Our fastest settings for two cores and a model of 135 million weights: bf16 over fp32 masters, episodes packed."""

_TWO_GROUPS: dict[str, dict[str, Any]] = {"learner": {"micro_batch_tokens": 8_192}}
"""On a GPU, two groups at once instead of one: fewer kernels, each with more to do."""

ARMS: tuple[Arm, ...] = (
    Arm(
        name="ours-bf16",
        side="ours",
        title="ours, bf16 over fp32 masters",
        scenarios=("multi-turn",),
        settings=_FAST,
        on_gpu=_TWO_GROUPS,
    ),
    Arm(
        name="ours-unrecorded",
        side="ours",
        title="ours, bf16, each kernel of a decoding step started by itself",
        settings=_FAST | {"sampler": {"record_steps": False}},
        on_gpu=_TWO_GROUPS,
    ),
    Arm(
        name="ours-reread",
        side="ours",
        title="ours, bf16, every turn read anew",
        scenarios=("multi-turn",),
        settings=_FAST | {"sampler": {"keep_cache": False}},
    ),
    Arm(
        name="ours-lean",
        side="ours",
        title="ours, bf16, lean: no masters, Adafactor, activations made again",
        scenarios=("multi-turn",),
        settings={
            "model": {"dtype": "bfloat16"},
            "optimizer": {"kind": "adafactor", "masters": "none"},
            "learner": {"micro_batch_tokens": 3_072, "gradient_checkpointing": True},
        },
        on_gpu=_TWO_GROUPS,
    ),
    Arm(
        name="ours-fp32",
        side="ours",
        title="ours, fp32",
        scenarios=("single-turn",),
        settings={"learner": {"micro_batch_tokens": 4_096}},
    ),
    Arm(
        name="ours-padded",
        side="ours",
        title="ours, fp32, side by side and padded",
        settings={"learner": {"packing": "padded", "micro_batch_tokens": 4_096}},
    ),
    Arm(
        name="trl-fp32",
        side="trl",
        title="TRL, fp32",
        scenarios=("single-turn",),
        settings={"rows": 8},
    ),
    Arm(
        name="trl-bf16",
        side="trl",
        title="TRL, bf16 weights without fp32 masters",
        scenarios=("multi-turn",),
        settings={"dtype": "bfloat16", "rows": 2},
        on_gpu={"rows": 16},
    ),
    Arm(
        name="trl-autocast",
        side="trl",
        title="TRL, bf16 autocast over fp32 weights",
        settings={"autocast": True, "rows": 8},
    ),
    Arm(
        name="plain-fp32",
        side="plain",
        title="forward and backward of the bare model, fp32",
        scenarios=("single-turn",),
        settings={"rows": 8},
    ),
    Arm(
        name="plain-bf16",
        side="plain",
        title="forward and backward of the bare model, bf16",
        scenarios=("multi-turn",),
        settings={"dtype": "bfloat16", "rows": 2},
        on_gpu={"rows": 8},
    ),
)
"""Every arm."""


def arm_named(name: str) -> Arm:
    """The arm of that name.

    Raises:
        ConfigError: There is none.
    """
    for arm in ARMS:
        if arm.name == name:
            return arm
    raise ConfigError(f"Unknown arm {name!r}. Available: {', '.join(arm.name for arm in ARMS)}.")


def default_arms(scenario: str) -> list[Arm]:
    """Those that run in a scenario if none are named."""
    return [arm for arm in ARMS if scenario in arm.scenarios]
