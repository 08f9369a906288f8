"""Whether a tuned simulator is good enough to be used: `python -m zs_env tune gate`."""

from __future__ import annotations

from zs_env.tuning.gating.figures import Measured, compare, contender_figures, measure
from zs_env.tuning.gating.held_out import TrainingData, check_trained_on, find_training, read_training, split_seen
from zs_env.tuning.gating.report import SCHEMA, make_report, summary
from zs_env.tuning.gating.rules import GateRules, check_rules, is_accepted
from zs_env.tuning.gating.simulators import Contender

__all__ = [
    "SCHEMA",
    "Contender",
    "GateRules",
    "Measured",
    "TrainingData",
    "check_rules",
    "check_trained_on",
    "compare",
    "contender_figures",
    "find_training",
    "is_accepted",
    "make_report",
    "measure",
    "read_training",
    "split_seen",
    "summary",
]
