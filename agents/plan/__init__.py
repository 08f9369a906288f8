"""What a training run will need, worked out before it begins: memory, time, and what it assumes.

Pure arithmetic on small frozen records, without weights: `memory.plan_memory` and `timing.plan_time` take a
`ModelShape`, a `RunShape` and a `Hardware`.
"""

from agents.plan.fitting import Change, changes_that_fit
from agents.plan.hardware import Hardware, find_hardware
from agents.plan.memory import MemoryPlan, plan_memory
from agents.plan.settings import Assumptions, Precision, RunShape
from agents.plan.shapes import SHAPES, ModelShape, find_shape, shape_of
from agents.plan.timing import TimePlan, plan_time

__all__ = [
    "SHAPES",
    "Assumptions",
    "Change",
    "Hardware",
    "MemoryPlan",
    "ModelShape",
    "Precision",
    "RunShape",
    "TimePlan",
    "changes_that_fit",
    "find_hardware",
    "find_shape",
    "plan_memory",
    "plan_time",
    "shape_of",
]
