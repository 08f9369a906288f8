"""Questions from the sentences of encyclopedias: about people, works and places, one fact each.

A rule is a regular expression with a group `a` for the answer, where it is looked for, and the question that it answers.
Rules are narrow on purpose: what they miss costs a question, what they get wrong costs a policy its reward.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zs_env.tuning.domain.candidates import Candidate, Subject, subject_of
from zs_env.tuning.domain.names import DATE, DEMONYMS, NAME, NAMES, PLACE, UPPER, YEAR, names_in
from zs_env.tuning.domain.sentences import evened, sentences_of

__all__ = ["encyclopedic_candidates"]

_WORK = r"(?:film|movie|documentary|album|song|single|novel|book|play|musical|opera|series|sitcom|video game|EP|comedy|drama|short|serial|anime|manga|miniseries|western|thriller)"
_FILM = r"(?:film|movie|documentary|comedy|drama|thriller|western|serial|short|miniseries)"
_BOOK = r"(?:novel|novella|book|play|musical|opera|poem|short story|memoir|comic)"
_MUSIC = r"(?:album|song|single|EP)"
_NOBLE = "(?:King|Duke|Count|Emperor|Prince|Sir|Lord|Earl|Landgrave|Elector|Margrave|Tsar|Sultan|Shah|Baron|Viscount)"
_WHOSE = rf"(?:the |an? |his |her )?(?:(?:{DEMONYMS}) )?(?:(?!and\b)[a-z][\w-]* ){{0,4}}?"
"""What may stand before a name: "the Polish film director"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one fact is said, and asked for.

    Attributes:
        name: The pattern's name.
        says: Matches what says it, with the answer as group `a`; `{this}` is whoever the article is about.
        asks: The question; `{x}` is the subject.
        where: "first" sentence, any sentence "about" the subject, or the "span" of life in the first parentheses.
        kind: What the article must be: a "person", "film", "music", "book", "work", or a "place"; None for any.
        is_list: Whether the answer is a list of names, each of which counts.
        is_every: Whether whatever the passage says so is an answer.
    """

    name: str
    says: str
    asks: str
    where: str = "first"
    kind: str | None = None
    is_list: bool = False
    is_every: bool = False


_DATED = rf"(?:c\. ?|circa |about |before |after |around )?{DATE}"
RULES = (
    # Parentheses behind the name: (18 February 1929, Trabzon – 21 September 1989, Istanbul)
    Rule(name="people/born", says=rf"^(?:.*?; )?(?:born:? ?)?(?P<a>{_DATED})(?=$|,| in | [–-]|[–-]|;| at )", asks="When was {x} born?", where="span", kind="person"),
    Rule(name="people/died", says=rf"(?:^died |[–-] ?|; died )(?:died )?(?P<a>{_DATED})(?=$|,| in |;| at )", asks="When did {x} die?", where="span", kind="person"),
    Rule(name="people/birthplace", says=rf"^(?:born )?{_DATED}(?:,| in| at) (?P<a>{PLACE})(?= ?[–-]|$)", asks="Where was {x} born?", where="span", kind="person"),
    Rule(name="people/deathplace", says=rf"[–-] ?{_DATED}(?:,| in| at) (?P<a>{PLACE})$", asks="Where did {x} die?", where="span", kind="person"),
    Rule(name="people/birthplace", says=rf"\b{{this}} was born (?:on {DATE} |in {YEAR} |{DATE} )?(?:in|at) (?:the (?:city|town|village) of )?(?P<a>{PLACE})", asks="Where was {x} born?", where="about", kind="person"),
    Rule(name="people/birthplace", says=rf", (?:was )?born (?:on {DATE} |in {YEAR} )?(?:in|at) (?P<a>{PLACE})", asks="Where was {x} born?", kind="person"),
    Rule(name="people/deathplace", says=rf"\b{{this}} (?:\w+ )?died (?:on {DATE} |in {YEAR} )?(?:in|at) (?P<a>{PLACE})", asks="Where did {x} die?", where="about", kind="person"),
    Rule(name="people/buried", says=rf"\b(?:was|is|were) (?:\w+ )?(?:buried|interred) (?:in|at) (?P<a>{PLACE})", asks="Where was {x} buried?", where="about", kind="person"),
    # Families
    Rule(name="people/father", says=rf"\b{{this}} (?:was|is) (?:the|a) (?:\w+[ -]){{0,3}}?(?:son|daughter|child) of {_WHOSE}(?P<a>{_NOBLE} {NAME}|{NAME}(?=,? and (?:his (?:\w+ )?wife,? )?{NAME}))", asks="Who was the father of {x}?", where="about", kind="person"),
    Rule(name="people/father", says=rf"^(?:(?!\b(?:son|daughter|wife|husband|mother|married)\b).)*\b(?:son|daughter) (?:and \w+ )?of {_WHOSE}(?P<a>{_NOBLE} {NAME}|{NAME}(?=,? and (?:his (?:\w+ )?(?:wife|consort),? )))", asks="Who was the father of {x}?", kind="person"),
    Rule(name="people/mother", says=rf"\b{{this}} (?:was|is) (?:the|a) (?:\w+[ -]){{0,3}}?(?:son|daughter|child) of [^.;()]{{3,80}}?,? and (?:his (?:\w+ )?(?:wife|consort),? )(?P<a>{NAME})(?=$|[.,;(])", asks="Who was the mother of {x}?", where="about", kind="person"),
    Rule(name="people/mother", says=rf"\b(?:[Hh]is|[Hh]er) mother(?: was|,) (?P<a>{NAME})", asks="Who was the mother of {x}?", where="about", kind="person"),
    Rule(name="people/father", says=rf"\b(?:[Hh]is|[Hh]er) father(?: was|,) (?P<a>{NAME})", asks="Who was the father of {x}?", where="about", kind="person"),
    Rule(name="people/spouse", says=rf"\b{{this}} (?:was |is )?(?:\w+ )?married (?:on {DATE} |in {YEAR} |to )?(?:to )?{_WHOSE}(?P<a>{NAME})", asks="Whom did {x} marry?", where="about", kind="person"),
    Rule(name="people/husband", says=rf"\b{{this}} (?:was|is) (?:the|a) (?:\w+ )?wife of {_WHOSE}(?P<a>{NAME})", asks="Who was the husband of {x}?", where="about", kind="person"),
    Rule(name="people/sibling", says=rf"\b(?:the|a|is|was) (?:\w+[ -]){{0,2}}?brother of {_WHOSE}(?P<a>{NAME})", asks="Of whom was {x} a brother?", kind="person"),
    Rule(name="people/child", says=rf"\b(?:the|a|is|was) (?:\w+[ -]){{0,2}}?(?:father|mother) of {_WHOSE}(?P<a>{NAME})", asks="Who was a child of {x}?", where="about", kind="person"),
    # What they are
    Rule(name="people/nationality", says=rf"\b(?:is|was) (?:an?|the) (?:\w+ ){{0,2}}?(?P<a>{DEMONYMS})(?= [a-z])(?! and )", asks="What is the nationality of {x}?", kind="person"),
    Rule(name="people/position", says=r"\bplay(?:s|ed) (?:\w+ )?as (?:an? )?(?P<a>(?:[a-z]+[ -]){0,2}?(?:[Mm]idfielder|[Dd]efender|[Gg]oalkeeper|[Ff]orward|[Ss]triker|[Ww]inger|[Ss]hortstop|[Pp]itcher|[Cc]atcher|[Qq]uarterback|full-back|left-back|right-back|wide receiver|defenceman|centre|center|cornerback|linebacker))\b", asks="Which position does {x} play?", where="about", kind="person"),
    Rule(name="people/club", says=rf"\b(?:currently )?plays (?:\w+ )?(?:as an? [\w -]+? )?(?:for|with) (?:the |club |side |\w+ club )?(?P<a>{NAME})", asks="Which team does {x} play for?", where="about", kind="person"),
    Rule(name="people/olympics", says=rf"\bcompeted (?:for \w+ )?(?:in [\w' -]+? )?(?:at|in) the (?P<a>{YEAR} (?:Summer |Winter )?(?:Olympics|Olympic Games|Paralympics))", asks="At which games did {x} compete?", where="about", kind="person", is_every=True),
    Rule(name="people/education", says=rf"\b(?:graduated from|alumn(?:us|a) of|was educated at|was educated in|studied at|attended) (?:the )?(?P<a>{NAME})", asks="Where was {x} educated?", where="about", kind="person"),
    Rule(name="people/role", says=r"\bknown for (?:his|her) (?:\w+ )?(?:role|portrayal|performance) (?:as|of) (?P<a>[A-Z][^.,;()]{2,40}?)(?= (?:in|on|from) )", asks="For the role of which character is {x} known?", where="about", kind="person"),
    # Works
    Rule(name="works/director", says=rf"\bdirected by {_WHOSE}(?P<a>{NAMES})", asks="Who directed {x}?", where="about", kind="film", is_list=True),
    Rule(name="works/producer", says=rf"\bproduced by {_WHOSE}(?P<a>{NAMES})", asks="Who produced {x}?", where="about", kind="film", is_list=True),
    Rule(name="works/writer", says=rf"^(?:(?!\b(?:based|novel|story|stories|adapted|play|poem)\b).)*\bwritten (?:and (?:directed|produced|composed|illustrated) )?by {_WHOSE}(?P<a>{NAMES})", asks="Who wrote {x}?", where="about", kind="work", is_list=True),
    Rule(name="works/director", says=rf"\bwritten and directed by {_WHOSE}(?P<a>{NAMES})", asks="Who directed {x}?", where="about", kind="film", is_list=True),
    Rule(name="works/cast", says=rf"\b(?:starring|[Tt]he film stars|[Ii]t stars|[Tt]his film stars) (?P<a>{NAMES})", asks="Who starred in {x}?", where="about", kind="film", is_list=True),
    Rule(name="works/music", says=rf"\b(?:music|score|soundtrack) (?:is |was |were )?(?:composed |written |scored )?by {_WHOSE}(?P<a>{NAMES})", asks="Who composed the music of {x}?", where="about", kind="film", is_list=True),
    Rule(name="works/distributor", says=rf"\b(?:distributed|released) (?:\w+ )?(?:by|through) (?P<a>{NAME})", asks="Which company released {x}?", where="about", kind="film"),
    Rule(name="works/year", says=rf"\b(?:is|was) an? (?P<a>{YEAR}) [\w', /-]*?{_FILM}\b", asks="In which year did {x} come out?", kind="film"),
    Rule(name="works/released", says=rf"\b(?:released|premiered|published|aired) (?:\w+ )?(?:in \w+(?: \w+)? )?(?:on|in) (?P<a>{DATE})", asks="When was {x} released?", where="about", kind="work"),
    Rule(name="works/artist", says=rf"\b(?:is|was) (?:the|an?) [\w', -]*?{_MUSIC} (?:recorded |released |performed )?(?:by|from) {_WHOSE}(?P<a>{NAME})", asks="Who recorded {x}?", kind="music"),
    Rule(name="works/author", says=rf"\b(?:is|was) (?:the|an?) [\w', -]*?{_BOOK}s? by {_WHOSE}(?P<a>{NAME})", asks="Who wrote {x}?", kind="book"),
    Rule(name="works/source", says=rf"\bbased on (?:the|an?|his|her) (?:[\w -]+ )?(?:novel|play|book|story|memoir|musical)[^.;]*? by {_WHOSE}(?P<a>{NAME})", asks="Who wrote the work that {x} is based on?", where="about", kind="film"),
    # Places and organisations
    Rule(name="places/where", says=rf"\b(?:is|was) (?:an?|the|one) (?:[\w'-]+[, ]+){{1,8}}?(?:located |situated |based )?(?:in|near|at) (?P<a>{PLACE})", asks="Where is {x} located?", kind="place"),
    Rule(name="places/founded", says=rf"\b(?:founded|established|formed|incorporated|created|built|opened|launched) (?:in|on) (?:the )?(?P<a>{DATE})", asks="When was {x} founded?", where="about", kind="organisation"),
    Rule(name="places/founder", says=rf"\bfounded (?:in {YEAR} |on {DATE} )?by {_WHOSE}(?P<a>{NAMES})", asks="Who founded {x}?", where="about", kind="organisation", is_list=True),
    Rule(name="places/headquarters", says=rf"\b(?:headquartered|headquarters (?:is|are|was|were)|based) (?:located )?in (?P<a>{PLACE})", asks="Where does {x} have its headquarters?", where="about", kind="organisation"),
)

_PERSON = re.compile(rf"\b(?:was|is|were) (?:an?|the|one of)\b|\b(?:he|she|his|her)\b", re.IGNORECASE)
_BIRTH = re.compile(rf"\((?:[^()]*[;,] )?(?:born|died|{_DATED}(?:[^()]*?) ?[–-] ?(?:{_DATED})|[–-] ?{_DATED}|died )|\b(?:born|[Hh]e|[Ss]he|[Hh]is|[Hh]er)\b")
_PLACES = re.compile(
    r"^[^.]{0,120}?\b(?:is|was) (?:an?|the|one)\b[^.]{0,80}?\b(?:village|town|city|community|river|lake|mountain|hamlet|municipality|suburb|"
    r"neighbou?rhood|district|commune|county|province|island|school|university|college|church|station|airport|park|building|"
    r"museum|stadium|castle|hospital|cemetery|bridge|township|borough|parish|diocese|hotel|theatre|theater|house|library|"
    r"peak|creek|reservoir|settlement|palace|monastery|abbey|railway|mosque|temple|glacier|hill|cave|arena)\b"
)
_ORGANISATION = re.compile(
    r"^[^.]{0,120}?\b(?:is|was|were|are) (?:an?|the|one)\b[^.]{0,80}?\b(?:company|organi[sz]ation|band|group|foundation|club|team|label|magazine|"
    r"newspaper|party|school|university|college|institute|society|brand|studio|airline|bank|agency|league|association|"
    r"station|museum|publisher|journal|manufacturer|firm|charity|network|orchestra|church|diocese)\b"
)


def _kinds(first: str, text: str) -> dict[str, str]:
    """What an article may be, each with how a question names it."""
    said = re.search(r"\b(?:is|was|are|were) (?:the |an? |one of )(.{0,160})", first)
    told = said[1].split(" about ")[0].split(" by ")[0].split(" directed ")[0] if said else ""
    head = re.split(r",? (?:that|which|who|where|set|starring|based|written|produced|released|located|in|of|from|on|with)\b", told)[0]
    found: dict[str, str] = {}
    if re.search(rf"\b{_FILM}s?\b", head) and not re.search(r"\b(?:director|actor|actress|producer|writer|composer|critic|company|studio|magazine|festival)\b", head):
        noun = "the film" if re.search(r"\b(?:film|movie|documentary|western)\b", head) else "the series" if "miniseries" in head or "serial" in head else ""
        if noun:
            found["film"] = found["work"] = noun
    for kind, nouns in (("music", _MUSIC), ("book", _BOOK)):
        noun = re.search(rf"\b{nouns}\b", head)
        if noun and not re.search(r"\b(?:writer|author|composer|singer|actor|actress|player|publisher)\b", head) and not found:
            found[kind] = found["work"] = f"the {noun[0]}"
    if re.search(r"\b(?:television|TV|web|anime|comedy|drama) (?:[\w-]+ )?(?:series|sitcom|show)\b", head) and not found:
        found["film"] = found["work"] = "the series"
    if found:
        return found
    if _PLACES.match(first) and not re.search(r"\b(?:he|she|born)\b", first):
        found["place"] = ""
    if _ORGANISATION.match(first) and not re.search(r"\b(?:he|she|his|her|born)\b", first):
        found["organisation"] = ""
    if not found and _BIRTH.search(text):
        found["person"] = ""
    return found


def encyclopedic_candidates(passage: str, title: str | None, text: str) -> Iterator[Candidate]:
    """What the rules propose for an article's passage.

    Args:
        passage: The passage's id.
        title: The article's title: what it is about.
        text: The passage; only one that begins with its article's first sentence gives anything.
    """
    subject = subject_of(title)
    sentences = sentences_of(evened(text))
    if subject is None or not sentences or not _is_about(sentences[0], subject):
        return
    kinds = _kinds(sentences[0], " ".join(sentences[:3]))
    if not kinds:
        return
    spans = _spans(sentences[0])
    names = _names(subject)
    for rule, pattern in _COMPILED:
        if rule.kind is not None and rule.kind not in kinds:
            continue
        places = spans if rule.where == "span" else sentences[:1] if rule.where == "first" else sentences[:6]
        answers: list[str] = []
        said = ""
        for number, place in enumerate(places):
            if rule.where == "about" and number and not _goes_on(place, names):
                continue
            for match in pattern.finditer(place):
                this = match.groupdict().get("this")
                if this is not None and not (number == 0 and this == ")") and this not in names:
                    continue
                answers += _answers(match["a"], rule)
                said = said or (sentences[0] if rule.where == "span" else place)
                if not rule.is_every:
                    break
            if answers and not rule.is_every:
                break
        if answers:
            yield Candidate(
                question=rule.asks.format(x=subject.named(kinds.get(rule.kind or "", ""))),
                answers=tuple(dict.fromkeys(answers)),
                pattern=rule.name,
                passage=passage,
                sentence=said,
            )


_COMPILED = tuple((rule, re.compile(rule.says.replace("\\b{this}", r"(?P<this>\)|\b[\w’'-]+),?"))) for rule in RULES)
_PRONOUNS = frozenset(("He", "She", "It", "he", "she", "it"))
_THE_WORK = frozenset("film movie album book novel series school company band single song play group".split())


def _goes_on(sentence: str, names: frozenset[str]) -> bool:
    """Whether a later sentence is still about the article's subject."""
    words = re.findall(r"[\w’'-]+", re.sub(rf"^(?:In|On) {DATE},? ", "", sentence))[:2]
    if not words:
        return False
    return words[0] in names or words[0] in ("His", "Her", "Its", "This") or (
        words[0] == "The" and len(words) > 1 and words[1] in _THE_WORK
    )


def _names(subject: Subject) -> frozenset[str]:
    """The words that may stand for a subject in a sentence."""
    words = [word for word in re.findall(r"[\w’'-]+", subject.name) if word[0].isupper()]
    return _PRONOUNS.union(words)


def _is_about(sentence: str, subject: Subject) -> bool:
    """Whether an article's first sentence begins with what its title says."""
    said = set(re.findall(r"\w+", sentence[: 60 + 2 * len(subject.name)].casefold()))
    words = re.findall(r"\w+", subject.name.casefold())
    return bool(words) and sum(word in said for word in words) >= 0.6 * len(words)


def _spans(first: str) -> list[str]:
    """What stands in the first parentheses with a year, piece by piece: dates of life are in the last."""
    for found in re.finditer(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)", first[:400]):
        if re.search(r"\d{3}", found[1]):
            inner = re.sub(r"\([^()]*\)", "", found[1]).strip()
            parts = [part.strip() for part in inner.split(";")]
            dated = [part for part in parts if re.search(DATE, part)]
            return dated[-1:]
    return []


_EMPTY = re.compile(
    rf"(?:{DEMONYMS}|The|(?:the )?(?:King|Queen|Earl|Duke|Duchess|Emperor|Count|Prince|Princess|Lord|Baron) of .*|[{UPPER}]\\.)$"
)
"""Answers that name nobody."""


def _answers(text: str, rule: Rule) -> tuple[str, ...]:
    answers = names_in(text) if rule.is_list else [text]
    found = [answer.strip(" ,;") for answer in answers]
    return tuple(
        answer
        for answer in found
        if len(answer) > 1
        and (rule.name.endswith("nationality") or not _EMPTY.match(answer))
        and not answer.endswith(("’s", "'s", "’", "'", "s’", "s'"))
    )
