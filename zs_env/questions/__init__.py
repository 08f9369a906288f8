"""Where questions come from: the built-in atlas, files, hub data sets."""

from __future__ import annotations

from zs_env.errors import ConfigError
from zs_env.questions.atlas import load_atlas
from zs_env.questions.source import QuestionList

__all__ = ["QuestionList", "load_questions"]


def load_questions(source: str, split: str | None = None) -> QuestionList:
    """Load questions."""
    if source == "atlas":
        return load_atlas().world(split).questions
    raise ConfigError(f"Unknown questions {source!r}.")
