"""The rules by which a tuned simulator is accepted or refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from zs_env.errors import ConfigError
from zs_env.measuring.figures import Figures

__all__ = ["GateRules", "check_rules", "is_accepted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What the figures of a simulator must reach. All rules must be met.

    All but the first are held against the figure itself, with its interval beside it. A failed search counts against
    the simulator whose it is: a useful one holds no answer, a noisy one isn't free of one, and none of its documents
    came.

    Attributes:
        min_separation_gain: What the lower end of the paired interval of the gain in separation over the prompted
            model must be above; separation is the share of useful searches that hold an answer less that of noisy ones.
        min_noisy_free: The least share of noisy searches that hold no answer.
        min_noisy_free_gain: By how much that share must at least be above the prompted model's; 0 is as good as it.
        min_useful_holding: The least share of useful searches that hold an answer.
        min_similarity_ratio: The least query similarity of noisy searches, as a share of that of useful ones.
        min_useful_similarity: The least query similarity of useful searches, as a share of the prompted model's: noise
            is held against useful documents, so those must be on the topic themselves.
        max_repeated: The largest share of documents that nearly repeat one of the same search.
        max_repeated_elsewhere: The largest share of documents that nearly repeat another question's.
        max_said_back: The largest share of documents that say back the whole query or question: noise that does would
            be on topic and free of an answer, and say nothing.
        max_short: The largest share of documents of fewer than five words.
        min_documents: The least share of the documents asked for that came.
        max_memorised: The largest share of documents that copy words from the training text; None for no such rule.
        min_questions: The fewest questions that both were asked: fewer tell too little.
    """

    min_separation_gain: float = 0.0
    min_noisy_free: float = 0.60
    min_noisy_free_gain: float = 0.0
    min_useful_holding: float = 0.85
    min_similarity_ratio: float = 0.80
    min_useful_similarity: float = 0.50
    max_repeated: float = 0.05
    max_repeated_elsewhere: float = 0.05
    max_said_back: float = 0.10
    max_short: float = 0.10
    min_documents: float = 0.80
    max_memorised: float | None = None
    min_questions: int = 20

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None and item.name == "max_memorised":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ConfigError(f"{item.name} must be a finite number; got {value!r}.")
            if item.name == "min_questions" and (value != int(value) or value < 2):
                raise ConfigError(f"min_questions must be a whole number of at least 2; got {value!r}.")
            least, most = (-1.0, 1.0) if item.name.endswith("_gain") else (0.0, 1.0)
            if (
                item.name not in ("min_questions", "min_similarity_ratio", "min_useful_similarity")
                and not least <= value <= most
            ):
                raise ConfigError(f"{item.name} must be in [{least:g}, {most:g}]; got {value!r}.")


def check_rules(rules: GateRules, candidate: Mapping[str, Any], paired: Mapping[str, Any]) -> list[Figures]:
    """Hold figures against the rules.

    Args:
        rules: The rules.
        candidate: What `contender_figures` gave for the candidate.
        paired: What `compare` gave for it and the prompted model.

    Returns:
        A row for each rule: its `name` and `title`, `bound` (in words), `figure`, and whether it is `met`; None where
        there is no figure to tell it by.
    """
    return [*_rows(rules, candidate, paired)]


def is_accepted(rows: list[Figures]) -> bool:
    """Whether every rule is met; one that can't be told isn't."""
    return all(row["met"] is True for row in rows)


def _rows(rules: GateRules, candidate: Mapping[str, Any], paired: Mapping[str, Any]) -> Iterator[Figures]:
    gain = paired["separation"]["gain"]
    lower = gain["ci"][0] if gain["ci"] else None
    yield {
        "name": "min_separation_gain",
        "title": "separation, gain over the prompted model: lower end of its paired interval",
        "bound": f"above {rules.min_separation_gain:g}",
        "figure": gain,
        "met": None if lower is None else lower > rules.min_separation_gain,
    }
    free = candidate["noisy_free"]
    yield _least("min_noisy_free", "noisy searches free of an answer", rules.min_noisy_free, free)
    title = "noisy searches free of an answer, gain over the prompted model"
    yield _least("min_noisy_free_gain", title, rules.min_noisy_free_gain, paired["noisy_free"]["gain"])
    title = "useful searches holding an answer"
    yield _least("min_useful_holding", title, rules.min_useful_holding, candidate["useful_holding"])
    title = "query similarity, noisy / useful"
    yield _least("min_similarity_ratio", title, rules.min_similarity_ratio, candidate["similarity_ratio"])
    title = "query similarity of useful searches, by the prompted model's"
    yield _least("min_useful_similarity", title, rules.min_useful_similarity, paired["useful_similarity"])
    title = "documents that repeat one of the same search"
    yield _most("max_repeated", title, rules.max_repeated, candidate["repeated"])
    title = "documents that repeat another question's"
    yield _most("max_repeated_elsewhere", title, rules.max_repeated_elsewhere, candidate["repeated_elsewhere"])
    title = "documents that say back the query or question"
    yield _most("max_said_back", title, rules.max_said_back, candidate["said_back"])
    title = "documents of fewer than five words"
    yield _most("max_short", title, rules.max_short, candidate["short"])
    yield _least(
        "min_documents", "documents that came, of those asked for", rules.min_documents, candidate["documents"]
    )
    if rules.max_memorised is not None:
        title = "documents that copy words from the training text"
        yield _most("max_memorised", title, rules.max_memorised, candidate["memorised"])
    asked = {"value": gain["n"], "n": gain["n"], "ci": None}
    yield _least("min_questions", "questions that both can be judged by", rules.min_questions, asked)


def _least(name: str, title: str, least: float, figure: Mapping[str, Any]) -> Figures:
    value = figure["value"]
    met = None if value is None else value >= least
    return {"name": name, "title": title, "bound": f"at least {least:g}", "figure": dict(figure), "met": met}


def _most(name: str, title: str, most: float, figure: Mapping[str, Any]) -> Figures:
    value = figure["value"]
    met = None if value is None else value <= most
    return {"name": name, "title": title, "bound": f"at most {most:g}", "figure": dict(figure), "met": met}
