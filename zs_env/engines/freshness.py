"""Whether a question is about now: a rule of words, for English.

It is a list of words, not an understanding of time. What it must not do is send "unit of electric current" to an
engine that costs money, so words with another common sense count only where what stands beside them rules that out:

- `today`, `tonight`, `yesterday`, `tomorrow`, `currently`, `nowadays`, `recent`, `newest`, `up-to-date`, and
  `recently`, but not "more recently";
- `latest`, but not "at the latest", "latest possible", "the latest of";
- `current` before a noun ("current president"), but not of electricity, water or air ("electric current", "current
  density", "ocean current");
- `now` as in "right now", "as of now", "until now", and at the end of a question in the present ("where is he now?");
- `this`, `last`, `next` or `past` before a unit of time ("this season", "last week"), but not "the last year of" or
  "was the last year";
- `still` before what ends one day ("still alive", "still in office");
- "so far", "at the moment", "these days", "in the news", "news about", "breaking news";
- what has a value each day: weather forecasts, stock and share prices, exchange rates, live scores;
- a year from `since_year` on, where one is set: what a model can't have read.

A capital inside a text marks a name: "USA Today", "Apocalypse Now" and "The Tonight Show" are no questions about now,
as long as they are written that way (and the first and the last are known in small letters too).

What it doesn't see: a present that no word says ("who is the president of France", "how old is she"), other languages,
titles in small letters that it doesn't know ("who is the director of apocalypse now").
"""

from __future__ import annotations

import re

from zs_env.curriculum import check_whole

__all__ = ["YEARS_AHEAD", "check_since_year", "find_freshness"]

YEARS_AHEAD = 20
"""A year further after `since_year` is taken for a name or a number: "Blade Runner 2049"."""

_UNIT = r"(?:second|minute|hour|day|night|morning|evening|week|weekend|month|quarter|season|year|decade)s?"
_FLOWS = (
    r"electric|electrical|alternating|direct|eddy|induced|induction|leakage|peak|rms|ac|dc|ocean|oceanic|sea|marine|rip|"
    r"tidal|river|water|air|warm|cold|undersea|underwater|surface|convection|equatorial|of"
)
_OF_FLOWS = (
    r"density|densities|flow|flows|flowing|strength|source|sources|transformer|transformers|divider|dividers|meter|"
    r"meters|loop|loops|sensor|sensors|carrying|limiting|rating|ratings|mirror|balance|affairs|in|through|of|is|are|was|"
    r"and|or|that|which|to|from|with|on|by|measured"
)
_SENSES = (
    r"(?<!usa )today(?!'?s? show)",
    r"tonight(?! show)",
    r"yesterday|tomorrow|currently|nowadays|recent|(?<!more )recently|newest|up[- ]to[- ]date",
    r"(?<!at the )latest(?! possible| of\b)",
    rf"(?<!-)(?<!\w)current(?! (?:{_OF_FLOWS})\b)(?= \w)",
    r"right now|as of now|just now|until now|by now",
    rf"(?:this|these|next) (?:current )?{_UNIT}",
    rf"(?<!was the )(?<!is the )(?:last|past) (?:(?:few|couple of|several|\d+|two|three|five|ten) )?{_UNIT}"
    r"(?! (?:of|in|before)\b)",
    r"still (?:alive|living|open|married|together|playing|active|running)",
    r"still in (?:office|power|business|use|production|print)",
    r"so far|at the moment|these days|at present|as of (?:today|this)",
    r"in the news(?! media)|news (?:about|on|today)|breaking news",
    r"weather forecast|(?:stock|share|gas|oil|bitcoin) prices?|exchange rates?|live scores?",
)
_FRESH = re.compile("|".join(rf"\b(?:{sense})\b" for sense in _SENSES), re.IGNORECASE)
_BEFORE_CURRENT = re.compile(rf"\b(?:{_FLOWS})[ -]$", re.IGNORECASE)
_NOW_AT_END = re.compile(r"\b(?:is|are|'s|does|do|has|have)\b.*\bnow\W*$")
_YEAR = re.compile(r"(?<![\w.,$€£-])(?:19|20)\d\d(?![\w,-]|\.\d)")
_SPACES = re.compile(r"\s+")


def find_freshness(text: str, *, since_year: int | None = None) -> str | None:
    """The words that make a question one about now, or None.

    Args:
        text: A question or a query; what stands after its first 2,000 characters isn't read.
        since_year: The first year that counts as now.

    Examples:
        >>> find_freshness("Who is the current president of Kenya?")
        'current'
        >>> find_freshness("What is the unit of electric current?") is None
        True
        >>> find_freshness("who won the 2025 world series", since_year=2025)
        '2025'
    """
    plain = _SPACES.sub(" ", text[:2_000].replace("’", "'")).strip()
    for match in _FRESH.finditer(plain):
        found = match[0]
        if found[0].isupper() and match.start() > 0 and not plain.isupper():
            continue  # a name
        if found.casefold() == "current" and _BEFORE_CURRENT.search(plain[: match.start()]):
            continue
        return found.casefold()
    if _NOW_AT_END.search(plain):
        return "now"
    if since_year is not None:
        for match in _YEAR.finditer(plain):
            if since_year <= int(match[0]) <= since_year + YEARS_AHEAD:
                return match[0]
    return None


def check_since_year(since_year: int | None) -> int | None:
    """Refuse what isn't a year.

    Raises:
        ConfigError: It isn't a whole number from 1900 on.
    """
    return None if since_year is None else check_whole("since_year", since_year, least=1900)
