"""Taking out what repeats: equal questions, nearly equal ones, and those of evaluation sets.

Two kinds of questions go through here. *Free* ones are divided among splits by us, or trained on: no given split, or
`train`. *Held* ones belong to another split that their source gives them: they stay as published, and count as
evaluation questions for the free ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zs_env.questions.prepare.checking import YES_NO, exact_key
from zs_env.questions.prepare.reading import Item
from zs_env.questions.prepare.repeats import Match, NearQuestions, components
from zs_env.questions.prepare.settings import TRAIN, PrepareSettings
from zs_env.rewards import normalize_answer

__all__ = ["Cleaned", "Removed", "clean", "is_free"]

_EXAMPLES = 5
_PROGRESS = 20_000


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A question that was taken out.

    Attributes:
        item: The question.
        why: `exact_repeat`, `near_repeat`, `conflict`, `evaluation_exact`, `evaluation_near`, or the check's name.
        other: The question that it repeats, if it does.
        likeness: How alike they are; 1 for equal ones.
    """

    item: Item
    why: str
    other: Item | None = None
    likeness: float | None = None


@dataclass(kw_only=True)
class Cleaned:
    """What is left.

    Attributes:
        free: The free questions that stay, in order.
        groups: For each of these, the place of the first one that must be in the same split.
        held: The held ones.
        removed: What was taken out.
        counts: How often what happened.
        examples: Pairs of questions to look at, by what happened to them.
    """

    free: list[Item]
    groups: list[int]
    held: list[Item]
    removed: list[Removed]
    counts: Counter[str]
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def is_free(item: Item) -> bool:
    """Whether we may divide or thin it: no split is given for it, or `train` is."""
    return item.split is None or item.split == TRAIN


def clean(
    items: Sequence[Item],
    against: Sequence[Item],
    settings: PrepareSettings,
    tell: Callable[[str], None] = lambda text: None,
) -> Cleaned:
    """Take out what repeats.

    Args:
        items: All questions, checked, in order.
        against: The evaluation sets' questions.
        settings: What becomes of repeats.
        tell: Is told how far it is.
    """
    removed: list[Removed] = []
    kept = _without_flagged(items, settings, removed)
    held = [item for item in kept if not is_free(item)]
    free = _without_exact([item for item in kept if is_free(item)], settings, removed)
    evaluation = [*against, *held]
    free = _without_evaluation_exact(free, evaluation, removed)
    result = Cleaned(free=free, groups=list(range(len(free))), held=held, removed=removed, counts=Counter())
    if settings.near != "ignore":
        _near(result, evaluation, settings, tell)
    result.counts.update(Counter(one.why for one in removed))
    result.counts["held_exact_repeats"] = len(held) - len({exact_key(item.question) for item in held})
    for one in removed:
        if one.other is not None:
            _add_example(result, one.why, one.item, one.other, one.likeness)
    return result


def _without_flagged(items: Iterable[Item], settings: PrepareSettings, removed: list[Removed]) -> list[Item]:
    kept = []
    for item in items:
        reason = next((flag for flag in settings.drop if flag in item.flags), None)
        if reason is None:
            kept.append(item)
        else:
            removed.append(Removed(item=item, why=reason))
    return kept


def _without_exact(items: Sequence[Item], settings: PrepareSettings, removed: list[Removed]) -> list[Item]:
    """Let one of equal questions stay, the earliest, with the golden answers of those that agree with it."""
    first: dict[str, Item] = {}
    dropped: set[str] = set()
    for item in items:
        key = exact_key(item.question)
        stays = first.setdefault(key, item)
        if stays is item:
            continue
        agrees = not _normal(stays.answers).isdisjoint(_normal(item.answers))
        both = _normal((*stays.answers, *item.answers))
        if agrees or (settings.conflicts == "merge" and not both >= YES_NO):
            stays.answers = _merged(stays.answers, item.answers)
        elif settings.conflicts == "drop":
            dropped.add(key)
        removed.append(Removed(item=item, why="exact_repeat" if agrees else "conflict", other=stays, likeness=1.0))
    for key in sorted(dropped):
        removed.append(Removed(item=first.pop(key), why="conflict"))
    return [item for item in items if first.get(exact_key(item.question)) is item]


def _without_evaluation_exact(free: list[Item], evaluation: Sequence[Item], removed: list[Removed]) -> list[Item]:
    known: dict[str, Item] = {}
    for item in evaluation:
        known.setdefault(exact_key(item.question), item)
    kept = []
    for item in free:
        other = known.get(exact_key(item.question))
        if other is None:
            kept.append(item)
        else:
            removed.append(Removed(item=item, why="evaluation_exact", other=other, likeness=1.0))
    return kept


def _near(result: Cleaned, evaluation: Sequence[Item], settings: PrepareSettings, tell: Callable[[str], None]) -> None:
    """Look for near repeats of evaluation questions, then of earlier ones."""
    everything = [*evaluation, *result.free]
    near = NearQuestions([item.question for item in everything], [item.answers for item in everything])
    for at in range(len(evaluation)):
        near.add(at)
    kept: list[Item] = []
    place: dict[int, int] = {}
    pairs: list[tuple[int, int]] = []
    for at in range(len(evaluation), len(everything)):
        if (at - len(evaluation) + 1) % _PROGRESS == 0:
            tell(f"looked for near repeats of {at - len(evaluation) + 1:,} of {len(result.free):,} questions")
        item = everything[at]
        matches = near.find(at)
        match, why = _verdict(matches, len(evaluation), settings)
        if match is not None:
            other = everything[match.at]
            result.removed.append(Removed(item=item, why=why, other=other, likeness=round(match.likeness, 4)))
            continue
        for match in matches:
            other = everything[match.at]
            result.counts["near_kept" if match.same_answer else "near_other_answer"] += 1
            if not match.same_answer:
                _add_example(result, "near_other_answer", item, other, round(match.likeness, 4))
            pairs.append((place[match.at], len(kept)))
        place[at] = len(kept)
        kept.append(item)
        near.add(at)
    result.free = kept
    result.groups = components(len(kept), pairs)
    result.counts["near_compared"] = near.num_compared


def _verdict(matches: Sequence[Match], num_evaluation: int, settings: PrepareSettings) -> tuple[Match | None, str]:
    """The match that takes a question out, and what that is called."""
    for match in matches:
        if match.at < num_evaluation:
            return match, "evaluation_near"
    if settings.near == "drop":
        for match in matches:
            if match.same_answer:
                return match, "near_repeat"
    return None, ""


def _normal(answers: Iterable[str]) -> set[str]:
    return {normalize_answer(answer) for answer in answers}


def _merged(answers: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    known = _normal(answers)
    merged = list(answers)
    for answer in more:
        if normalize_answer(answer) not in known:
            known.add(normalize_answer(answer))
            merged.append(answer)
    return tuple(merged)


def _add_example(result: Cleaned, why: str, item: Item, other: Item, likeness: float | None) -> None:
    shown = result.examples.setdefault(why, [])
    if len(shown) < _EXAMPLES:
        shown.append(
            {
                "question": item.question,
                "golden_answers": list(item.answers),
                "other_question": other.question,
                "other_golden_answers": list(other.answers),
                "other_source": other.source,
                "likeness": likeness,
            }
        )
