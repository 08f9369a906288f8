"""Whether a text holds a golden answer, judged apart from the engine.

A simulated engine checks its own documents (`engines.llm.checking`). Whoever scores that engine must not use the same
rules, or a hole in them is invisible. What is here shares no code with that check, but for `combining.stream_safe`,
which has no rule of what an answer is.

**Literally** (`Golden.is_literally_in`): DPR's `has_answer` (Karpukhin et al. 2020, arXiv 2004.04906): the answer's
tokens, in a row, among the text's, after NFD and lower case; punctuation marks are tokens, accents count.

**In any form** (`Golden.is_in`), which is wider:

- without accents, punctuation and articles; hyphens and apostrophes separate words;
- the last word in singular or plural; middle initials and a part in parentheses may be missing;
- numbers as digits or words, with thousands marked or not, with "million" and the like: 1,500 is one thousand five
  hundred; ordinals likewise;
- a date in whatever order of day, month and year; "December 1972" stands in "14 December 1972";
- a few abbreviations that everybody writes both ways (US, UK, EU, UN, USSR, world wars, "&", "St.", "Mt.").

**Where it can't be told** (`AnswerMatcher.excluded`), the verdict is None: answers of yes or no, those without a letter
or digit, those of small words alone ("it", "one"); and questions that one of their answers stands in, as in "Who is
older, A or B?". The Who is looked for as written, with its capitals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from zs_env.combining import stream_safe

__all__ = ["AnswerMatcher", "Golden", "find_matcher"]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _numbered(words: str, first: int, step: int = 1) -> dict[str, int]:
    return {word: first + step * place for place, word in enumerate(words.split())}


_YES_NO = _set("yes no true false noanswer none ja nein oui non si")
_SMALL = _set(
    "a an the of in on at to by for from with as and or not no but if so it its he she his her him they them their we "
    "us our you your i me my this that these those who whom whose what which when where why how is are was were be "
    "been am do does did has have had will would can could may one some any all each other up out over then there here "
    "only very just more most"
)
_UNITS = _numbered(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen",
    0,
)
_TENS = _numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = _numbered(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth",
    1,
) | _numbered("twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth", 20, 10)
_MONTHS = _numbered("january february march april may june july august september october november december", 1)
_MONTHS |= {name[:3]: number for name, number in _MONTHS.items()} | {"sept": 9}
_BESIDE_DATES = _set("on of the in ad ce utc gmt monday tuesday wednesday thursday friday saturday sunday")

# Before case is lost, for "US" is a country and "us" isn't.
_ABBREVIATIONS = tuple(
    (re.compile(pattern), f" {meaning} ")
    for pattern, meaning in (
        (
            r"\bU\.\s?S\.\s?A\b\.?|\bUSA\b|\bU\.\s?S\.(?!\w)|\bUS\b|\b[Uu]nited [Ss]tates of [Aa]merica\b",
            "United States",
        ),
        (r"\bU\.\s?K\.(?!\w)|\bUK\b", "United Kingdom"),
        (r"\bU\.S\.S\.R\b\.?|\bUSSR\b", "Soviet Union"),
        (r"\bU\.\s?N\.(?!\w)|\bUN\b", "United Nations"),
        (r"\bE\.\s?U\.(?!\w)|\bEU\b", "European Union"),
        (r"\b(?:World War (?:II|2|Two)|WW ?(?:II|2)|[Ss]econd World War)\b", "World War Two"),
        (r"\b(?:World War (?:I|1|One)|WW ?(?:I|1)|[Ff]irst World War)\b", "World War One"),
        (r"&", "and"),
        (r"\bSt\.\s", "Saint"),
        (r"\bMt\.?\s", "Mount"),
    )
)
_INITIALISM = re.compile(r"\b(?:[^\W\d_]\.){2,}")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:[,\u00a0\u202f\u2009]\d{3})+(?!\d)")
_THOUSANDS_APART = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d.,]*\d)")
_MARKS = re.compile("[\u0300-\u036f]")
_CHARACTERS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_UNSPACED = re.compile(f"[{_CHARACTERS}]")
# A decimal stays whole, or a 5 would stand in 3.5.
_TOKEN = re.compile(rf"\d+(?:\.\d+)+|[{_CHARACTERS}]|[^\W_{_CHARACTERS}]+")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)")
_ARTICLES = frozenset(("a", "an", "the"))
_NUMERIC_DATE = re.compile(r"(?<![\d/.-])(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})(?![\d/]|[-.]\d)")


class Date(NamedTuple):
    """A date, as far as it is said."""

    year: int | None
    month: int
    day: int | None

    def says(self, other: Date) -> bool:
        """Whether it says all that another one says."""
        return self.month == other.month and other.year in (None, self.year) and other.day in (None, self.day)


class _Text:
    """A text, made ready once for all that is looked for in it."""

    __slots__ = ("_literal", "dates", "raw", "readings")

    def __init__(self, text: str) -> None:
        self.raw = text
        spelled = text
        for pattern, meaning in _ABBREVIATIONS:
            spelled = pattern.sub(meaning, spelled)
        spelled = _INITIALISM.sub(lambda match: match[0].replace(".", ""), spelled)
        readings = [_tokens(spelled)]
        if _THOUSANDS_APART.search(spelled):
            readings.append(_tokens(_THOUSANDS_APART.sub(lambda match: match[0].replace(" ", ""), spelled)))
        self.dates = frozenset(_dates(text, readings[0]))
        self.readings = tuple(f" {' '.join(_content(tokens))} " for tokens in readings)
        self._literal: str | None = None

    @property
    def literal(self) -> str:
        if self._literal is None:
            self._literal = f"\0{chr(0).join(_dpr_tokens(self.raw))}\0"
        return self._literal


def _dpr_tokens(text: str) -> Iterator[str]:
    r"""`[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]` of NFD, in lower case."""
    word = ""
    for char in unicodedata.normalize("NFD", stream_safe(text)).lower():
        kind = unicodedata.category(char)[0]
        if kind in "LNM":
            word += char
            continue
        if word:
            yield word
            word = ""
        if kind not in "ZC":
            yield char
    if word:
        yield word


def _tokens(text: str) -> list[str]:
    """Words and digits, with numbers in digits."""
    text = _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    text = _MARKS.sub("", unicodedata.normalize("NFKD", stream_safe(text))).casefold()
    found = _TOKEN.findall(unicodedata.normalize("NFKC", stream_safe(text)))
    return list(_numbers_as_digits([_ORDINAL.sub(r"\1th", token) for token in found]))


def _content(tokens: Sequence[str]) -> Sequence[str]:
    return [token for token in tokens if token not in _ARTICLES] or tokens


def _numbers_as_digits(tokens: Sequence[str]) -> Iterator[str]:
    at = 0
    while at < len(tokens):
        value, end = _read_number(tokens, at)
        if value is None:
            yield f"{_ORDINALS[tokens[at]]}th" if tokens[at] in _ORDINALS else tokens[at]
            at += 1
            continue
        if end < len(tokens) and tokens[end] in _ORDINALS and _ORDINALS[tokens[end]] < 10 and tokens[end - 1] in _TENS:
            yield f"{int(value) + _ORDINALS[tokens[end]]}th"
            at = end + 1
            continue
        yield str(int(value)) if value == int(value) else str(value)
        at = end


def _read_number(tokens: Sequence[str], start: int) -> tuple[float | None, int]:
    """A number that begins at a place, and where it ends; None if none does, or it is in digits already."""
    first = tokens[start]
    scaled = start + 1 < len(tokens) and tokens[start + 1] in _SCALES
    if first.isascii() and first.replace(".", "", 1).isdigit():
        if not scaled:
            return None, start
        current = float(first)
        at = start + 1
    elif first in _TENS or (first in _UNITS and (first != "one" or scaled)):
        current, at = 0.0, start
    else:
        return None, start
    total, can_add = 0.0, True  # whether a unit may still be put to what was read
    while at < len(tokens):
        word = tokens[at]
        if word in _SCALES and (current or total):
            if _SCALES[word] == 100:
                current *= 100
            else:
                total, current = total + current * _SCALES[word], 0.0
            can_add = True
        elif word in _TENS and can_add and current % 100 == 0:
            current, can_add = current + _TENS[word], True
        elif word in _UNITS and can_add and (current % 100 == 0 or (current % 10 == 0 and 0 < _UNITS[word] < 10)):
            current, can_add = current + _UNITS[word], False
        elif (
            word == "and"
            and tokens[at - 1] in _SCALES
            and at + 1 < len(tokens)
            and (tokens[at + 1] in _TENS or tokens[at + 1] in _UNITS)
        ):
            pass
        else:
            break
        at += 1
    return round(total + current, 6), at


def _dates(text: str, tokens: Sequence[str]) -> Iterator[Date]:
    """Every date in a text, in every way that it can be read."""
    for match in _NUMERIC_DATE.finditer(text):
        a, b, c = int(match[1]), int(match[3]), int(match[4])
        if len(match[1]) == 4:
            yield from _valid(a, b, c)
        elif len(match[4]) == 4:
            yield from _valid(c, a, b)
            yield from _valid(c, b, a)
    words = [token for token in tokens if token not in ("of", "the")]
    for at, word in enumerate(words):
        month = _MONTHS.get(word)
        if month is None:
            continue
        before, after, beyond = (words[at + step] if 0 <= at + step < len(words) else "" for step in (-1, 1, 2))
        if (day := _day(before)) is not None:
            yield from _valid(_year(after), month, day)
        if (day := _day(after)) is not None:
            yield from _valid(_year(beyond), month, day)
        if (year := _year(after)) is not None:
            yield Date(year, month, None)


def _valid(year: int | None, month: int, day: int) -> Iterator[Date]:
    if 1 <= month <= 12 and 1 <= day <= 31:
        yield Date(year, month, day)


def _day(token: str) -> int | None:
    digits = token.removesuffix("th")
    return int(digits) if digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 31 else None


def _year(token: str) -> int | None:
    return int(token) if len(token) in (3, 4) and token.isascii() and token.isdigit() else None


class Golden:
    """One golden answer, ready to be looked for.

    Args:
        answer: The answer.

    Attributes:
        answer: The answer.
        excluded: Why looking for it would mean nothing: "yes or no", "no words", "small words"; None if it means
            something.
    """

    __slots__ = ("_as_written", "_date", "_forms", "_literal", "answer", "excluded")

    def __init__(self, answer: str) -> None:
        self.answer = answer
        text = _Text(answer)
        tokens = list(_content(text.readings[0].split()))
        self.excluded: str | None = None
        self._as_written: re.Pattern[str] | None = None
        if not tokens:
            self.excluded = "no words"
        elif " ".join(tokens) in _YES_NO:
            self.excluded = "yes or no"
        elif all(token in _SMALL for token in tokens):
            names = re.findall(r"\w+", answer)
            if len(names) > 1 and all(name[0].isupper() for name in names):
                self._as_written = re.compile(rf"(?<!\w){re.escape(answer.strip())}(?!\w)")
            else:
                self.excluded = "small words"
        self._literal = f"\0{chr(0).join(_dpr_tokens(answer))}\0"
        self._forms = tuple(dict.fromkeys(form for each in _variants(answer, text) for form in _inflected(each)))
        self._date = _whole_date(tokens, text)

    def is_in(self, text: str) -> bool:
        """Whether a text holds it, in any form."""
        return self._is_in(_read(text))

    def is_literally_in(self, text: str) -> bool:
        """Whether a text holds it, by DPR's rule."""
        return self._literal in _read(text).literal

    def _is_in(self, text: _Text) -> bool:
        if self._as_written is not None:
            return self._as_written.search(text.raw) is not None
        if any(form in reading for form, reading in product(self._forms, text.readings)):
            return True
        return self._date is not None and any(date.says(self._date) for date in text.dates)


def _variants(answer: str, text: _Text) -> Iterator[list[str]]:
    for reading in text.readings:
        tokens = reading.split()
        yield tokens
        inner = range(1, len(tokens) - 1)
        without_initials = [
            token for at, token in enumerate(tokens) if len(token) > 1 or at not in inner or token.isdigit()
        ]
        if len(without_initials) >= 2 and answer.strip()[:1].isupper():
            yield without_initials
    outside = re.sub(r"\([^)]*\)", " ", answer).strip()
    if outside != answer.strip() and len(outside) > 1:
        yield from (reading.split() for reading in _Text(outside).readings if reading.split())


def _inflected(tokens: Sequence[str]) -> Iterator[str]:
    last = tokens[-1] if tokens else ""
    if not last or all(token in _SMALL for token in tokens):
        return
    endings = [last]
    if last.isalpha() and last.isascii() and len(last) > 3:
        endings += [f"{last}s", f"{last}es"]
        if last.endswith("s") and not last.endswith("ss") and len(last) > 4:
            endings.append(last[:-1])
    for ending in endings:
        yield f" {' '.join([*tokens[:-1], ending])} "


def _whole_date(tokens: Sequence[str], text: _Text) -> Date | None:
    """The date that an answer is, if it is nothing else."""
    beside = [
        token for token in tokens if token not in _BESIDE_DATES and token not in _MONTHS and not token[:1].isdigit()
    ]
    whole = [date for date in text.dates if not any(other != date and other.says(date) for other in text.dates)]
    return whole[0] if not beside and len(whole) == 1 else None


def _tells(word: str) -> bool:
    return len(word) >= (2 if word[0].isdigit() else 1 if _UNSPACED.match(word) else 4)


@lru_cache(maxsize=4_096)
def _read(text: str) -> _Text:
    return _Text(text)


class AnswerMatcher:
    """Looks for a question's golden answers.

    Args:
        golden_answers: All of them.
        question: The question.

    Attributes:
        goldens: Those that are looked for.
        excluded: Why none is; None if some is.

    Examples:
        >>> matcher = AnswerMatcher(["14 December 1972 UTC"], "when was the last time anyone was on the moon")
        >>> matcher.is_held("They left on December 14, 1972."), matcher.is_held("They left in 1972.")
        (True, False)
        >>> matcher.is_literally_held("They left on December 14, 1972.")
        False
        >>> AnswerMatcher(["yes"]).is_held("Yes, it is.") is None
        True
    """

    __slots__ = ("_hints", "excluded", "goldens")

    def __init__(self, golden_answers: Sequence[str], question: str = "") -> None:
        goldens = [Golden(answer) for answer in golden_answers]
        meant = [golden for golden in goldens if golden.excluded is None]
        is_asked = any(golden.is_in(question) for golden in meant)
        self.goldens = () if is_asked else tuple(meant)
        asked = {word for reading in _read(question).readings for word in reading.split()}
        words = {
            word for golden in self.goldens for reading in _read(golden.answer).readings for word in reading.split()
        }
        self._hints = sorted(word for word in words - asked - _SMALL if _tells(word))
        self.excluded: str | None = None
        if not self.goldens:
            self.excluded = "in the question" if is_asked else goldens[0].excluded if goldens else "no words"

    def is_held(self, text: str) -> bool | None:
        """Whether a text holds any of them in any form; None where that can't be told."""
        if self.excluded is not None:
            return None
        read = _read(text)
        return any(golden._is_in(read) for golden in self.goldens)

    def is_hinted(self, text: str) -> bool | None:
        """Whether a text holds any telling word of them, as a surname; None where that can't be told.

        A telling word has four letters, or two digits, and isn't in the question.
        """
        if self.excluded is not None:
            return None
        return any(f" {word} " in reading for word in self._hints for reading in _read(text).readings)

    def is_literally_held(self, text: str) -> bool | None:
        """Whether a text holds any of them by DPR's rule; None where that can't be told."""
        if self.excluded is not None:
            return None
        return any(golden.is_literally_in(text) for golden in self.goldens)


@lru_cache(maxsize=4_096)
def find_matcher(golden_answers: tuple[str, ...], question: str = "") -> AnswerMatcher:
    """`AnswerMatcher`, remembered."""
    return AnswerMatcher(golden_answers, question)
