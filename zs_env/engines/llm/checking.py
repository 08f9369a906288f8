"""Checks what a model wrote against what it was asked for: pure functions of text.

**A golden answer in any form.** An answer stands in a text if `zs_env.rewards` finds it there (its containment is the
label `contains_golden`), or if it does once both are written plainer: no accents, punctuation taken out or replaced by
a space ("Spider-Man", "Spider Man", "Paris's"), no articles, thousands without separators ("1,000", "1 000"), scales
and small numbers as digits ("two million", "twenty-one"), full dates in one order, and its last word in the plural, or,
if it is written small, in the singular. It must be whole words ("Ada" is not in "Canada"), but for scripts that put no
spaces between words. The word "one" is
not taken for the number 1: it is in every other sentence.

**Where a check means nothing**, it says None: for answers that are yes or no; that are nothing but function words (but
"US" and ".in" are looked for as they are written); or that stand in the question itself, as in "Who is older, A or
B?". Of several golden answers, those that mean something are looked for.

**What is checked.** *Noisy*: no document holds a golden answer. *Useful*, single-hop: some document holds one.
*Useful*, multi-hop: the documents are about the query (they hold at least half of its content words, inflected or
not), and none gives the final answer away, unless the query asks for it. A query asks for it if it names the answer;
or what the question's last fact is about, where the metadata has `facts`; or else anything that the question doesn't,
such as the name that an earlier search has found.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from zs_env.actions import clean_text
from zs_env.combining import stream_safe
from zs_env.engines.decoys import SMALL_WORDS
from zs_env.questions.atlas_text import strip_accents
from zs_env.rewards import as_words, normalize_answer
from zs_env.types import Document, Question, SearchRequest

__all__ = ["Check", "Goldens", "find_goldens", "is_about", "is_multi_hop", "make_check"]

MAX_QUERY_CHARS = 4_000
MULTI_HOP_SOURCES = frozenset(("hotpotqa", "2wikimultihopqa", "musique", "bamboogle"))
"""Data sets all of whose questions take several searches, for questions whose metadata has no `hops`."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_NO_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)
_YES_NO = frozenset(_words("yes no noanswer true false ja nein oui non sí si нет да 是 否 不是 はい いいえ 예 아니요"))
_FUNCTION_WORDS = SMALL_WORDS | frozenset(
    _words("it us we me him them my our any all each both other such only not s t")
)
_GENERIC = frozenset(
    _words(
        "name list wiki wikipedia history biography information info fact detail meaning definition film movie song "
        "book person people actor singer place located origin first birth born date year age current full real new "
        "famous known called main official search find tell about does"
    )
)
_GROUPED = re.compile(r"(?<![\d.,])(\d{1,3})((?:[,.'’\u00a0\u202f\u2009 ]\d{3})+)(?![\d])")
_SCALED = re.compile(r"(?<![\d.,])(\d{1,4}(?:\.\d{1,3})?) ?(thousand|million|billion)\b")
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_ARTICLES = frozenset(("a", "an", "the"))
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_SMALL_NUMBERS = {word: i for i, word in enumerate(f"{_UNITS} seventeen eighteen nineteen".split())}
_TENS = {
    word: 10 * i for i, word in enumerate(_words("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_COMPOUNDS = {a + b: x + y for a, x in _TENS.items() for b, y in _SMALL_NUMBERS.items() if 0 < y < 10}
_NUMBERS = {**{w: n for w, n in _SMALL_NUMBERS.items() if w != "one"}, **_TENS, **_COMPOUNDS}
_MONTHS = _words("january february march april may june july august september october november december")
_MONTH_NUMBERS = {**{m: i for i, m in enumerate(_MONTHS, 1)}, **{m[:3]: i for i, m in enumerate(_MONTHS, 1)}, "sept": 9}
_MONTH = "|".join(sorted(_MONTH_NUMBERS, key=len, reverse=True))
_DATES = re.compile(
    rf"(?<= )(?:(?P<m1>{_MONTH}) (?P<d1>\d{{1,2}})(?:st|nd|rd|th)? (?P<y1>\d{{3,4}})"
    rf"|(?P<d2>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<m2>{_MONTH}) (?P<y2>\d{{3,4}})"
    rf"|(?P<y3>\d{{4}}) (?P<m3>\d{{2}}) (?P<d3>\d{{2}}))(?= )"
)
_INITIALS = re.compile("(?<= [a-z]) (?=[a-z] )")
_OPENED = str.maketrans(dict.fromkeys(string.punctuation, " "))
_CLOSED = str.maketrans(dict.fromkeys(string.punctuation))
_ASCII_LETTERS = re.compile("[a-z]+")
_LETTERS = str.maketrans(dict.fromkeys(char for char in map(chr, range(128)) if not char.isalpha()))


def _plain(text: str) -> str:
    """Without accents and case, numbers without separators and scales."""
    text = unicodedata.normalize("NFKC", stream_safe(clean_text(text)))
    text = unicodedata.normalize("NFC", strip_accents(text.casefold())).casefold()
    text = _GROUPED.sub(lambda match: match[1] + re.sub(r"\D", "", match[2]), text)
    return _SCALED.sub(lambda match: f"{round(float(match[1]) * _SCALES[match[2]])}", _small_scales(text))


_SMALL_SCALE = re.compile(
    rf"\b({'|'.join(sorted(_SMALL_NUMBERS, key=len, reverse=True))}) (thousand|million|billion)\b"
)


def _small_scales(text: str) -> str:
    return _SMALL_SCALE.sub(lambda match: f"{_SMALL_NUMBERS[match[1]]} {match[2]}", text)


def _without_marks(text: str, opened: bool) -> str:
    text = text.translate(_OPENED if opened else _CLOSED)
    if text.isascii():
        return text
    space = " " if opened else ""
    kept = []
    for char in text:
        category = unicodedata.category(char)
        kept.append("" if category == "Cf" else space if category[0] == "P" else char)
    return "".join(kept)


def _tokens(text: str) -> list[str]:
    """Words, with number words as digits, without articles (unless nothing else is there)."""
    words = text.split()
    words = [word for word in words if word not in _ARTICLES] or words
    if _NUMBERS.keys().isdisjoint(words):
        return words
    tokens: list[str] = []
    at = 0
    while at < len(words):
        number = _NUMBERS.get(words[at])
        unit = _SMALL_NUMBERS.get(words[at + 1], 0) if at + 1 < len(words) and words[at] in _TENS else 0
        if number is not None and 0 < unit < 10:
            number, at = number + unit, at + 1
        tokens.append(words[at] if number is None else str(number))
        at += 1
    return tokens


def _views(text: str) -> tuple[str, ...]:
    """The plain ways to write a text, each with spaces around it so that a substring of it is whole words."""
    plain = _plain(text)
    closed, opened = (f" {' '.join(_tokens(_without_marks(plain, mode)))} " for mode in (False, True))
    dated = _DATES.sub(_as_iso, opened)
    return tuple(dict.fromkeys((closed, opened, dated)))


def _as_iso(match: re.Match[str]) -> str:
    for form in "123":
        if match[f"y{form}"]:
            month = match[f"m{form}"]
            number = int(month) if month.isdigit() else _MONTH_NUMBERS[month]
            return f"{match[f'y{form}']}-{number:02}-{int(match[f'd{form}']):02}"
    raise AssertionError(match[0])


def _singulars(word: str) -> Iterator[str]:
    """What a word may be the plural of, if it may be one.

    Examples:
        >>> list(_singulars("rocks")), list(_singulars("boxes")), list(_singulars("glass"))
        (['rock'], ['boxe', 'box'], [])
    """
    if len(word) > 4 and word.isalpha() and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        yield word[:-1]
        if word.endswith("ies"):
            yield f"{word[:-3]}y"
        elif word.endswith("es"):
            yield word[:-2]


class _Golden:
    """One golden answer, ready to be looked for."""

    def __init__(self, answer: str) -> None:
        self._squad = as_words(answer)
        views = [view for view in _views(answer) if view.strip()]
        if views and views[0].strip() == "one":
            views.append(" 1 ")
        views.extend([_INITIALS.sub("", view) for view in views])
        plurals = [
            f"{view[:-1]}{ending} "
            for view in views
            for ending in ("s", "es")
            if len(view.split()[-1]) > 3 and view.split()[-1].isalpha()
        ]
        if answer.split()[-1:] and answer.split()[-1].islower():  # a name that ends in s is no plural
            plurals += [
                f"{view[: -len(last) - 1]}{one} "
                for view in views
                for last in [view.split()[-1]]
                for one in _singulars(last)
            ]
        self._forms = tuple(dict.fromkeys([*views, *plurals]))
        self._needles = tuple({max(_ASCII_LETTERS.findall(form), key=len, default="") for form in self._forms})
        joined = {
            view.strip() for view in views if _NO_SPACES.match(view.strip()) or _NO_SPACES.match(view.strip()[-1:])
        }
        self._unspaced = tuple(form.replace(" ", "") for form in joined)
        normal = normalize_answer(answer).split()
        self.has_words = any(map(str.isalnum, "".join(normal)))
        self.is_yes_no = " ".join(normal) in _YES_NO
        self.is_small = bool(normal) and all(word in _FUNCTION_WORDS for word in normal)
        letters = answer.strip().replace(".", "")
        self._literal: re.Pattern[str] | None = None
        if (self.is_small or self.is_yes_no) and re.fullmatch(r"\.\w+", answer.strip()):
            self._literal = re.compile(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", re.IGNORECASE)
        if (
            self._literal is None
            and self.is_small
            and letters.isupper()
            and letters.isalpha()
            and 2 <= len(letters) <= 5
        ):
            dotted = r"\.?".join(letters)
            self._literal = re.compile(rf"(?<!\w){dotted}(?!\w)")

    @property
    def means_something(self) -> bool:
        return self._literal is not None or (self.has_words and not self.is_yes_no and not self.is_small)

    def is_as_said(self, text: str, squad: str) -> bool:
        """Whether the answer stands in a text as `zs_env.rewards` would find it: the quick part of `is_in`."""
        return self._squad in squad if self._literal is None else self._literal.search(text) is not None

    def may_be_in(self, letters: str) -> bool:
        """Whether an ASCII text, of which these are the letters alone, can hold the answer: no is certain.

        A view of such a text has no letters but the text's own, in their order, nothing but marks taken out between
        two of a word. So letters that stand side by side in a form of the answer do so in `letters`.
        """
        return any(needle in letters for needle in self._needles)

    def is_in(self, text: str, squad: str, views: Sequence[str]) -> bool:
        if self._literal is not None:
            return self._literal.search(text) is not None
        if self._squad in squad or any(form in view for view in views for form in self._forms):
            return True
        return any(form in view.replace(" ", "") for view in views for form in self._unspaced)


class Goldens:
    """The golden answers of a question that can be looked for.

    Args:
        golden_answers: All of them.
        question: The question: an answer that stands in it is left out.
    """

    def __init__(self, golden_answers: Sequence[str], question: str = "") -> None:
        asked = as_words(question), _views(question)
        goldens = [golden for golden in map(_Golden, golden_answers) if golden.means_something]
        self._goldens = tuple(golden for golden in goldens if not golden.is_in(question, *asked))

    @property
    def mean_something(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._goldens)

    def may_be_in(self, text: str) -> bool:
        """A quick look: whether a text can hold any of them. No is certain, also for each part of the text."""
        if not text.isascii():
            return True
        letters = text.lower().translate(_LETTERS)
        return any(golden.may_be_in(letters) for golden in self._goldens)

    def are_in(self, text: str) -> bool:
        """Whether a text holds any of them, in any form.

        Examples:
            >>> Goldens(["1,000"]).are_in("It has 1 000 rooms."), Goldens(["Ada"]).are_in("Canada")
            (True, False)
        """
        if not self.may_be_in(text):
            return False
        squad = as_words(text)
        if any(golden.is_as_said(text, squad) for golden in self._goldens):
            return True
        views = _views(text)
        return any(golden.is_in(text, squad, views) for golden in self._goldens)


@lru_cache(maxsize=4_096)
def find_goldens(golden_answers: tuple[str, ...], question: str) -> Goldens:
    """`Goldens`, remembered."""
    return Goldens(golden_answers, question)


def is_multi_hop(question: Question) -> bool:
    """Whether a question takes several searches, by its metadata: `hops`, else `data_source`."""
    hops = question.metadata.get("hops")
    if isinstance(hops, (int, float)) and not isinstance(hops, bool):
        return hops > 1
    if isinstance(hops, str) and hops.strip().isdigit():
        return int(hops) > 1
    source = question.metadata.get("data_source")
    return isinstance(source, str) and re.sub(r"[^a-z0-9]", "", source.casefold()) in MULTI_HOP_SOURCES


def _stems(text: str) -> frozenset[str]:
    """The content words of a text, cut to stems; of scripts without spaces, pairs of characters."""
    words = _tokens(_without_marks(_plain(text), opened=True))
    content = [word for word in words if word not in _FUNCTION_WORDS]
    stems: set[str] = set()
    for word in content or words:
        if _NO_SPACES.search(word) and len(word) > 1:
            stems.update(word[i : i + 2] for i in range(len(word) - 1))
        else:
            stems.add(word[:5] if len(word) > 5 else word[:-1] if len(word) == 5 and word.endswith("s") else word)
    return frozenset(stems)


_query_stems = lru_cache(maxsize=1_024)(_stems)


def is_about(query: str, text: str) -> bool:
    """Whether a text holds at least half of a query's content words, inflected or not.

    Examples:
        >>> is_about("director of Jaws", "Jaws was directed by Steven Spielberg.")
        True
        >>> is_about("director of Jaws", "Cats are popular pets.")
        False
    """
    wanted = _query_stems(query[:MAX_QUERY_CHARS])
    return len(wanted & _stems(text)) >= math.ceil(len(wanted) / 2)


def asks_for_answer(query: str, question: Question, goldens: Goldens) -> bool:
    """Whether a query of a multi-hop question asks for its final answer; the module's docstring says how."""
    query = query[:MAX_QUERY_CHARS]
    if goldens.are_in(query):
        return True
    subject = _last_subject(question.metadata)
    if subject is not None:
        return find_goldens((subject,), "").are_in(query)
    known = _stems(question.question)
    new = {stem for stem in _stems(query) if not any(_are_akin(stem, other) for other in known)}
    return bool(new - _query_stems(" ".join(_GENERIC)))


def _are_akin(stem: str, other: str) -> bool:
    length = min(len(stem), len(other), 4)
    return (length >= 4 and stem[:length] == other[:length]) or stem == other


def _last_subject(metadata: Mapping[str, Any]) -> str | None:
    """What the last fact of a chain is about, where the metadata has the chain."""
    facts = metadata.get("facts")
    if not isinstance(facts, Sequence) or isinstance(facts, str) or len(facts) < 2:
        return None
    fact = facts[-1]
    subject = fact[0] if isinstance(fact, Sequence) and not isinstance(fact, str) and fact else None
    return subject if isinstance(subject, str) and subject.strip() else None


@dataclass(frozen=True, slots=True)
class Check:
    """What the documents of one request are checked for.

    Attributes:
        kind: "noisy", "answer" (useful, single-hop), "step" (useful, multi-hop), or "none" where it means nothing.
        query: The query.
        goldens: What is looked for.
        gives_answer: Whether a document may hold the final answer.
    """

    kind: Literal["noisy", "answer", "step", "none"]
    query: str
    goldens: Goldens
    gives_answer: bool

    def holds(self, document: Document) -> bool:
        """Whether a document holds a golden answer; no, where that means nothing."""
        return self.kind != "none" and self.goldens.are_in(_whole(document))

    def are_surely_free(self, documents: Sequence[Document]) -> bool:
        """Whether a quick look at all documents tells that none holds a golden answer."""
        return self.kind == "none" or not self.goldens.may_be_in("\n".join(map(_whole, documents)))

    def keeps(self, document: Document) -> bool:
        """Whether a document may be delivered; if not, it alone can be left out."""
        return self.gives_answer or not self.holds(document)

    def is_on_topic(self, document: Document) -> bool:
        """Whether a document has at least one content word of the query, inflected or not; yes, if it has none."""
        wanted = _query_stems(self.query[:MAX_QUERY_CHARS])
        text = f" {_whole(document).casefold()}"
        return not wanted or any(f" {stem}" in text for stem in wanted) or bool(wanted & _stems(text))

    def is_met(self, documents: Sequence[Document]) -> bool | None:
        """Whether documents, together, are what was asked for; None where that can't be told."""
        if self.kind == "none":
            return None
        if not documents or not all(map(self.keeps, documents)):
            return False
        if self.kind == "answer":
            return any(self.goldens.are_in(_whole(document)) for document in documents)
        return self.kind == "noisy" or is_about(self.query, "\n".join(map(_whole, documents)))

    @property
    def unmet(self) -> str:
        """What to say where it isn't met."""
        return {
            "noisy": "documents hold a golden answer",
            "answer": "no document holds a golden answer",
            "step": "documents aren't about the query, or give the final answer away",
            "none": "",
        }[self.kind]


def _whole(document: Document) -> str:
    return document.text if document.title is None else f"{document.title}\n{document.text}"


def make_check(request: SearchRequest) -> Check:
    """What a request's documents are checked for."""
    question = request.question
    goldens = find_goldens(question.golden_answers, question.question)
    steps = request.quality == "useful" and is_multi_hop(question)
    if request.quality == "noisy":
        gives_answer = False
    else:
        gives_answer = not steps or asks_for_answer(request.query, question, goldens)
    if not goldens.mean_something:
        return Check("none", request.query, goldens, gives_answer)
    return Check(
        "noisy" if request.quality == "noisy" else "step" if steps else "answer", request.query, goldens, gives_answer
    )
