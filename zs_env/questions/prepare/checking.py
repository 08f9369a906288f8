"""What is remarkable about a question, and the ids that questions get."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from zs_env.actions import clean_text
from zs_env.likeness import words_of
from zs_env.questions.prepare.reading import Item
from zs_env.questions.prepare.settings import PrepareSettings
from zs_env.rewards import normalize_answer

__all__ = ["YES_NO", "exact_key", "flag", "flags_of", "give_ids"]

YES_NO = frozenset(("yes", "no"))
_ARTICLES = frozenset(("a", "an", "the"))
_HASH_CHARS = 12


def exact_key(text: str) -> str:
    """What two questions share exactly if they are the same but for case, accents, punctuation and spaces.

    Examples:
        >>> exact_key("Who wrote  'Émile'?") == exact_key("who wrote emile")
        True
    """
    return " ".join(words_of(text)) or " ".join(text.casefold().split())


def flag(items: Sequence[Item], settings: PrepareSettings) -> Counter[str]:
    """Mark items by the checks.

    Returns:
        How many each check marked.
    """
    counts: Counter[str] = Counter()
    for item in items:
        item.flags = flags_of(item.question, item.answers, settings)
        counts.update(item.flags)
    return counts


def flags_of(question: str, answers: Sequence[str], settings: PrepareSettings) -> frozenset[str]:
    """Which checks mark a question.

    - `yes_no`: a golden answer is yes or no, so that any document may hold it by chance;
    - `holds_answer`: the question's own words hold a golden answer, as comparisons do;
    - `bare_answer`: a golden answer has no word but articles, so that scoring compares it as it stands;
    - `overlong`: the question or a golden answer is longer than is allowed for.
    """
    found = set()
    inside = f" {normalize_answer(question)} "
    for answer in answers:
        normal = normalize_answer(answer)
        if normal in YES_NO:
            found.add("yes_no")
        elif f" {normal} " in inside:
            found.add("holds_answer")
        if not set(words_of(answer)) - _ARTICLES:
            found.add("bare_answer")
        if len(answer) > settings.max_answer_chars:
            found.add("overlong")
    if len(question) > settings.max_question_chars:
        found.add("overlong")
    return frozenset(found)


def give_ids(items: Sequence[Item]) -> int:
    """Give each item an id that is unique, and stays when rows move or other sources join.

    It is the data set's name and the row's own id, or a hash of the question where it has none. Where several rows
    would get the same one, each gets its question's hash behind it; equal questions under one id are counted on.

    Returns:
        How many had no id of their own that could be kept alone.
    """
    wanted = [_wanted(item) for item in items]
    often = Counter(wanted)
    seen: Counter[str] = Counter()
    changed = 0
    for item, name in zip(items, wanted, strict=True):
        if often[name] > 1:
            changed += item.own_id is not None
            if item.own_id is not None:
                name = f"{name}-{_hash(item.question)}"
        seen[name] += 1
        item.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return changed


def _wanted(item: Item) -> str:
    own = clean_text(item.own_id).strip() if item.own_id else ""
    if not own:
        return f"{item.data_source}-{_hash(item.question)}"
    return own if own.startswith(f"{item.data_source}-") else f"{item.data_source}-{own}"


def _hash(question: str) -> str:
    return hashlib.sha256(exact_key(question).encode()).hexdigest()[:_HASH_CHARS]
