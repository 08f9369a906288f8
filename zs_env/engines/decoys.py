"""Wrong answers that look like right ones: other numbers for numbers, other dates for dates, other names for names.

A decoy keeps the shape of what it stands in for, word by word: digits and separators of numbers, months, small words,
capitals, punctuation. Names are made of syllables rather than taken from a list, so that no word of theirs comes up so
often that it would give a decoy away.
"""

from __future__ import annotations

import re

from zs_env.engines.draws import Draws

__all__ = ["SMALL_WORDS", "make_decoy", "make_name"]

_SMALL = """
a about after all also an and are as at be been before being but by can could da de del den der des did do does du
el for from had has have he her his how i if in into is it its la le les many more most much no not of on or over
she so some than that the their them then there these they this to under until up van von was were what when where
which while who whom whose why will with would you your
"""
SMALL_WORDS = frozenset(_SMALL.split())
"""Words that say nothing by themselves: kept in decoys, and not counted when a query is compared with a question."""

_CLOSED = tuple(
    tuple(words.split())
    for words in (
        "january february march april may june july august september october november december",
        "jan feb mar apr jun jul aug sep sept oct nov dec",
        "monday tuesday wednesday thursday friday saturday sunday",
        "one two three four five six seven eight nine ten eleven twelve",
        "first second third fourth fifth sixth seventh eighth ninth tenth",
        "north south east west",
        "northern southern eastern western",
        "red blue green yellow black white brown orange purple",
        "i ii iii iv v vi vii viii ix x xi xii",
    )
)
_CLASS_OF = {word: words for words in _CLOSED for word in words}
_ROMAN = frozenset(_CLOSED[-1])
_OPPOSITES: dict[str, tuple[str, ...]] = {"yes": ("no", "no", "no", "unclear"), "no": ("yes", "yes", "yes", "unclear")}

_PART = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*")
_YEARS = range(1000, 2100)

_STARTS: tuple[str, ...] = (*"bcdfghjklmnprstvw", "br", "ch", "dr", "st", "tr")
_MIDDLES: tuple[str, ...] = (*"aeiou", "ai", "ea", "ie", "oo")
_ENDS: tuple[str, ...] = ("", *"lnrstm", "nd", "rk", "ll", "ss", "ck")


def make_decoy(answer: str, draws: Draws) -> str:
    """Make something that looks like an answer and isn't it.

    Examples:
        >>> make_decoy("14 December 1972", Draws(1)), make_decoy("3,677 seats", Draws(2)), make_decoy("yes", Draws(3))
        ('18 December 1976', '5,283 poosiend', 'unclear')
    """
    opposite = _OPPOSITES.get(answer.strip().casefold())
    if opposite is not None:
        return _like(answer.strip(), draws.pick(opposite))
    parts = [match for match in _PART.finditer(answer) if match[0].casefold() not in SMALL_WORDS]
    if not parts:
        return make_name(draws)
    changed = [part for part in parts if len(parts) == 1 or draws.below(2)] or [draws.pick(parts)]
    result, end = [], 0
    for part in changed:
        result += [answer[end : part.start()], _replace(part[0], len(parts), draws)]
        end = part.end()
    return "".join([*result, answer[end:]])


def make_name(draws: Draws, num_syllables: int = 2) -> str:
    """A name that nobody has, probably.

    Examples:
        >>> make_name(Draws(5))
        'Naicer'
    """
    syllables = [draws.pick(_STARTS) + draws.pick(_MIDDLES) for _ in range(num_syllables)]
    return ("".join(syllables) + draws.pick(_ENDS)).capitalize()


def _replace(word: str, num_words: int, draws: Draws) -> str:
    """Another word of the same kind."""
    if word[0].isdecimal():
        return _other_number(word, draws)
    folded = word.casefold()
    options = _CLASS_OF.get(folded)
    if options is not None and (folded not in _ROMAN or (word.isupper() and num_words > 1)):
        return _like(word, draws.pick([option for option in options if option != folded]))
    if not word.isascii() and not any(char.isascii() and char.isalpha() for char in word):
        return "".join(_other_letter(char, draws) for char in word)
    if word.isupper() and len(word) > 1:
        return "".join(draws.pick("ABCDEFGHIKLMNOPRSTUVW") for _ in range(min(len(word), 8)))
    return _like(word, make_name(draws, 1 if len(word) < 5 else 2 if len(word) < 9 else 3))


def _like(word: str, other: str) -> str:
    """Write a word with the capitals of another."""
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[:1].isupper() else other.lower()


def _other_number(number: str, draws: Draws) -> str:
    """A number of like size with the same separators, decimals and leading zeros; for a year a year near it."""
    digits = re.sub(r"\D", "", number)[:15]
    value = int(digits)
    if len(number) == 4 and value in _YEARS:
        return str(value + draws.pick([*range(-12, 0), *range(1, 9 if value > 1990 else 13)]))
    low = max(value // 2, 0 if digits.startswith("0") else 10 ** (len(digits) - 1))
    high = max(min(value + value // 2 + 3, 10 ** len(digits) - 1), low + 1)
    other = low + draws.below(high - low + 1)
    if other == value:
        other += 1 if other < high else -1
    text = str(other).zfill(len(digits))
    places = iter(text)
    return "".join(next(places, "0") if char.isdigit() else char for char in number)


def _other_letter(char: str, draws: Draws) -> str:
    """A letter near another in its script, so that its word keeps looking like one of its language."""
    for _ in range(8):
        other = chr(max(ord(char) + draws.below(25) - 12, 1))
        if other.isalpha() and other != char and other.isupper() == char.isupper():
            return other
    return char
