"""Questions from the sentences of encyclopedias: about people, works and places, one fact each."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zs_env.tuning.domain.candidates import Candidate, Subject, subject_of
from zs_env.tuning.domain.encyclopedic_rules import BOOK, DATED, FILM, MUSIC, RULES, Rule
from zs_env.tuning.domain.names import DATE, DEMONYMS, UPPER, names_in
from zs_env.tuning.sentences import evened, sentences_of

__all__ = ["encyclopedic_candidates"]

_MAX_SENTENCES = 6

_COMPILED = tuple((rule, re.compile(rule.says.replace(r"\b{this}", r"(?P<this>\)|\b[\w’'-]+),?"))) for rule in RULES)
_PRONOUNS = frozenset(("He", "She", "It", "he", "she", "it"))
_WORK_NOUNS = frozenset(
    (
        "film",
        "movie",
        "album",
        "book",
        "novel",
        "series",
        "school",
        "company",
        "band",
        "single",
        "song",
        "play",
        "group",
    )
)
_LIFE = re.compile(
    rf"\((?:[^()]*[;,] )?(?:born|died|{DATED}[^()]*? ?[–-] ?{DATED}|[–-] ?{DATED})|"
    r"\b(?:born|[Hh]e|[Ss]he|[Hh]is|[Hh]er)\b"
)
_IS_ONE = r"^[^.]{0,120}?\b(?:is|was|were|are) (?:an?|the|one)\b[^.]{0,80}?\b"
_PLACE = re.compile(
    rf"{_IS_ONE}(?:village|town|city|community|river|lake|mountain|hamlet|municipality|suburb|neighbou?rhood|district|"
    "commune|county|province|island|school|university|college|church|station|airport|park|building|museum|stadium|castle|"
    "hospital|cemetery|bridge|township|borough|parish|diocese|hotel|theatre|theater|house|library|peak|creek|reservoir|"
    r"settlement|palace|monastery|abbey|railway|mosque|temple|glacier|hill|cave|arena)\b"
)
_ORGANISATION = re.compile(
    rf"{_IS_ONE}(?:company|organi[sz]ation|band|group|foundation|club|team|label|magazine|newspaper|party|school|"
    "university|college|institute|society|brand|studio|airline|bank|agency|league|association|station|museum|publisher|"
    r"journal|manufacturer|firm|charity|network|orchestra|church|diocese)\b"
)
_PERSON = re.compile(r"\b(?:he|she|his|her|born)\b")
_MAKERS = re.compile(
    r"\b(?:director|actor|actress|producer|writer|author|composer|critic|company|magazine|festival|singer|player|"
    r"publisher|(?:film|production|animation) studio)\b"
)
_HEAD_END = re.compile(
    r",? (?:that|which|who|where|set|starring|based|written|produced|released|located|directed|about|in|of|from|on|"
    r"with|by)\b"
)
_EMPTY = re.compile(
    rf"(?:{DEMONYMS}|The|(?:the )?(?:King|Queen|Earl|Duke|Duchess|Emperor|Count|Prince|Princess|Lord|Baron) of .*|"
    rf"[{UPPER}]\.)$"
)
"""Answers that name nobody."""


def encyclopedic_candidates(passage: str, title: str | None, text: str) -> Iterator[Candidate]:
    """What the rules propose for an article's passage.

    Args:
        passage: The passage's id.
        title: The article's title: what it is about.
        text: The passage; only one that begins with its article's first sentence gives anything.
    """
    subject = subject_of(title)
    sentences = sentences_of(evened(text))[:_MAX_SENTENCES]
    if subject is None or not sentences or not _is_about(sentences[0], subject):
        return
    kinds = _kinds(sentences[0], " ".join(sentences[:3]))
    spans = _spans(sentences[0])
    names = _names(subject)
    for rule, pattern in _COMPILED:
        if rule.kind not in kinds:
            continue
        places = spans if rule.where == "span" else sentences[:1] if rule.where == "first" else sentences
        answers, said = _found(rule, pattern, places, names)
        if answers:
            yield Candidate(
                question=rule.asks.format(x=subject.named(kinds[rule.kind])),
                answers=answers,
                pattern=rule.name,
                passage=passage,
                sentence=sentences[0] if rule.where == "span" else said,
            )


def _found(
    rule: Rule, pattern: re.Pattern[str], places: list[str], names: frozenset[str]
) -> tuple[tuple[str, ...], str]:
    """The answers that a rule finds, and the sentence that holds the first."""
    answers: list[str] = []
    said = ""
    for number, place in enumerate(places):
        if rule.where == "about" and number and not _goes_on(place, names):
            continue
        for match in pattern.finditer(place):
            this = match.groupdict().get("this")
            if this is None or this in names or (this == ")" and number == 0):
                answers += _answers(match["a"], rule)
                said = said or place
            if answers and not rule.is_every:
                return tuple(dict.fromkeys(answers)), said
    return tuple(dict.fromkeys(answers)), said


def _kinds(first: str, text: str) -> dict[str, str]:
    """What an article may be about, each kind with the words that a question puts before its name."""
    said = re.search(r"\b(?:is|was|are|were) (?:the |an? |one of )(.{0,160})", first)
    head = _HEAD_END.split(said[1])[0] if said else ""
    if not _MAKERS.search(head):
        if re.search(rf"\b{FILM}s?\b", head):
            if re.search(r"\b(?:film|movie|documentary|western)\b", head):
                return {"film": "the film", "work": "the film"}
            if re.search(r"\b(?:mini)?series\b|\bserial\b", head):
                return {"film": "the series", "work": "the series"}
        for kind, nouns in (("music", MUSIC), ("book", BOOK)):
            noun = re.search(rf"\b{nouns}\b", head)
            if noun:
                return {kind: f"the {noun[0]}", "work": f"the {noun[0]}"}
        if re.search(r"\b(?:television|TV|web|anime) (?:[\w-]+ )?(?:series|sitcom|show)\b", head):
            return {"film": "the series", "work": "the series"}
    found: dict[str, str] = {}
    if not _PERSON.search(first):
        found |= {"place": ""} if _PLACE.match(first) else {}
        found |= {"organisation": ""} if _ORGANISATION.match(first) else {}
    return found or ({"person": ""} if _LIFE.search(text) else {})


def _goes_on(sentence: str, names: frozenset[str]) -> bool:
    """Whether a later sentence is still about the article's subject."""
    words = re.findall(r"[\w’'-]+", re.sub(rf"^(?:In|On) {DATE},? ", "", sentence))[:2]
    if not words:
        return False
    is_named = words[0] in names or words[0] in ("His", "Her", "Its", "This")
    return is_named or (words[0] == "The" and len(words) > 1 and words[1] in _WORK_NOUNS)


def _names(subject: Subject) -> frozenset[str]:
    """The words that may stand for a subject in a sentence."""
    return _PRONOUNS.union(word for word in re.findall(r"[\w’'-]+", subject.name) if word[0].isupper())


def _is_about(sentence: str, subject: Subject) -> bool:
    """Whether an article's first sentence begins with what its title says."""
    said = set(re.findall(r"\w+", sentence[: 60 + 2 * len(subject.name)].casefold()))
    words = re.findall(r"\w+", subject.name.casefold())
    return bool(words) and sum(word in said for word in words) >= 0.6 * len(words)


def _spans(first: str) -> list[str]:
    """The piece with dates of the first parentheses that have any: "(Georgine Marie; 23 May 1857 – 30 April 1882)"."""
    for found in re.finditer(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)", first[:400]):
        inner = re.sub(r"\([^()]*\)", "", found[1]).strip()
        dated = [part.strip() for part in inner.split(";") if re.search(DATE, part)]
        if dated:
            return dated[-1:]
    return []


def _answers(text: str, rule: Rule) -> tuple[str, ...]:
    answers = (answer.strip(" ,;") for answer in (names_in(text) if rule.is_list else [text]))
    return tuple(
        answer
        for answer in answers
        if len(answer) > 1
        and (rule.name == "people/nationality" or not _EMPTY.match(answer))
        and not answer.endswith(("’s", "'s", "’", "'"))
    )
