"""Making questions ready to train on: read from the hub or files, checked, deduplicated, decontaminated, divided."""

from zs_env.questions.prepare.presets import expand
from zs_env.questions.prepare.reading import Access
from zs_env.questions.prepare.running import Prepared, prepare
from zs_env.questions.prepare.settings import PrepareSettings, Source

__all__ = ["Access", "PrepareSettings", "Prepared", "Source", "expand", "prepare"]
