"""Questions from table rows, which readers write as "flag: `--seed`; default: 0; what it is: where chance begins"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zs_env.tuning.domain.candidates import Candidate
from zs_env.tuning.domain.corpus import Passage

__all__ = ["answers_of_code", "table_candidates"]

_CELL = re.compile(r"(?:^|; )([^:;`]{1,40}): ")
_CODE = re.compile(r"^`([^`]+)`$")
_NOTHING = frozenset(("–", "-", "—", "", "none", "n/a", "off", "on", "yes", "no", "required", "true", "false"))
_MEANS = re.compile(
    r"^(?:what it|meaning|description|does|what|purpose|explanation|is|means|effect|sets)\b", re.IGNORECASE
)
_LEANS = re.compile(
    r"^(?:the (?:same|last|first|other|next|former|latter)|likewise|as|ditto|this|these|it|its|their|they|of|and|or|"
    r"but|also|more|another|where)\b|"
    r"\b(?:such|above|below|see)\b",
    re.IGNORECASE,
)
_NOUN = re.compile(r"^[a-z][a-z ]{2,20}$")


def table_candidates(passage: Passage) -> Iterator[Candidate]:
    """What rows with a name in code tell: which name has a meaning, and what a name's default is."""
    about = passage.title.partition(" – ")[0]
    for line in passage.text.split("\n"):
        cells = _cells(line)
        if len(cells) < 2:
            continue
        (column, first), rest = cells[0], cells[1:]
        name = _CODE.match(first)
        if name is None:
            continue
        noun = column.casefold() if _NOUN.match(column.casefold()) and column.casefold() != "name" else "setting"
        for header, value in rest:
            if "default" in header.casefold():
                plain = _value(value)
                if plain:
                    yield Candidate(
                        question=f"What is the default of the {noun} `{name[1]}` ({about})?",
                        answers=(plain,),
                        pattern="tables/default",
                        passage=passage.id,
                        sentence=line,
                    )
            elif _MEANS.match(header) and name[1] not in value and (meaning := _meaning(value)):
                yield Candidate(
                    question=f"Which {noun} is this ({about}): {meaning}?",
                    answers=answers_of_code(name[1]),
                    pattern="tables/name",
                    passage=passage.id,
                    sentence=line,
                )


def _cells(line: str) -> list[tuple[str, str]]:
    """The cells of a row with the names of their columns; none if it is no row.

    Examples:
        >>> _cells("flag: `--seed`; default: 0; what it is: where chance begins; 0 is the same")
        [('flag', '`--seed`'), ('default', '0'), ('what it is', 'where chance begins; 0 is the same')]
    """
    marks = list(_CELL.finditer(line))
    if len(marks) < 2 or marks[0].start() != 0:
        return []
    ends = [*(mark.start() for mark in marks[1:]), len(line)]
    return [(mark[1].strip(), line[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)]


def _value(text: str) -> str:
    """A default that can be asked for: one piece of code, or a number; "" if it is none."""
    text = text.strip()
    code = _CODE.match(text)
    plain = code[1].strip("\"' ") if code else text
    is_asked = code is not None or re.match(r"^\d[\d.,]*(?: [\w/%]+)?$", text) is not None
    return plain if is_asked and plain.casefold() not in _NOTHING and len(plain.split()) <= 4 else ""


def _meaning(text: str) -> str:
    """A meaning up to where it says more, at a colon, a semicolon or a full stop; "" if it can't stand alone."""
    first = text.rstrip(" .;:")
    for end in re.finditer(r"(?<=[\w`)])[;:.](?= )", text):
        part = text[: end.start()]
        if len(part.split()) >= 4 and part.count("`") % 2 == 0:
            first = part
            break
    is_whole = 4 <= len(first.split()) <= 30 and first.count("`") % 2 == 0
    return first if is_whole and not _LEANS.search(first) else ""


def answers_of_code(code: str) -> tuple[str, ...]:
    """A piece of code as an answer; a flag also without the name of its value.

    Examples:
        >>> answers_of_code("--timeout-s S"), answers_of_code("topk")
        (('--timeout-s', '--timeout-s S'), ('topk',))
    """
    flag = re.match(r"^(--?[\w-]+)(?: |=)(?:[A-Z<{\[].*|[a-z])$", code)
    return (flag[1], code) if flag else (code,)
