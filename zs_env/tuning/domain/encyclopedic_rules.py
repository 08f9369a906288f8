"""How encyclopedias say what people ask for: one rule a fact, and a way to say it.

A rule is a regular expression with a group `a` for the answer; `{this}` stands where the article's subject must. Rules
are narrow on purpose: what they miss costs a question, what they get wrong costs a policy its reward.
"""

from __future__ import annotations

from dataclasses import dataclass

from zs_env.tuning.domain.names import DATE, DEMONYMS, NAME, NAMES, PLACE, YEAR

__all__ = ["BOOK", "DATED", "FILM", "MUSIC", "RULES", "Rule"]

FILM = "(?:film|movie|documentary|comedy|drama|thriller|western|serial|short|miniseries)"
BOOK = "(?:novel|novella|book|play|musical|opera|poem|short story|memoir|comic)"
MUSIC = "(?:album|song|single|EP)"
DATED = rf"(?:c\. ?|circa |about |before |after |around )?{DATE}"

_NOBLE = "(?:King|Duke|Count|Emperor|Prince|Sir|Lord|Earl|Landgrave|Elector|Margrave|Tsar|Sultan|Shah|Baron|Viscount)"
_WHOSE = rf"(?:the |an? |his |her )?(?:(?:{DEMONYMS}) )?(?:(?!and\b)[a-z][\w-]* ){{0,4}}?"
"""What may stand before a name: "the Polish film director"."""
_IN = rf"(?:on {DATE} |in {YEAR} |{DATE} )?(?:in|at) "
_IS_CHILD = r"\b{this} (?:was|is) (?:the|a) (?:\w+[ -]){0,3}?(?:son|daughter|child) of "
_HIS_WIFE = r"(?:his (?:\w+ )?(?:wife|consort),? )"
_POSITIONS = (
    "(?:[Mm]idfielder|[Dd]efender|[Gg]oalkeeper|[Ff]orward|[Ss]triker|[Ww]inger|[Ss]hortstop|[Pp]itcher|[Cc]atcher|"
    "[Qq]uarterback|full-back|left-back|right-back|wide receiver|defenceman|centre|center|cornerback|linebacker)"
)
_GAMES = rf"{YEAR} (?:Summer |Winter )?(?:Olympics|Olympic Games|Paralympics)"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one fact is said, and asked for.

    Attributes:
        name: The pattern's name.
        kind: What the article must be about: a "person", "film", "music", "book", "work", "place" or "organisation".
        asks: The question; `{x}` is the subject.
        says: Matches what says it.
        where: In the "first" sentence, in any that is "about" the subject, or in the "span" of life in parentheses.
        is_list: Whether the answer is a list of names, each of which counts.
        is_every: Whether whatever the passage says so is an answer.
    """

    name: str
    kind: str
    asks: str
    says: str
    where: str = "about"
    is_list: bool = False
    is_every: bool = False


_LIFE = (
    # (18 February 1929, Trabzon – 21 September 1989, Istanbul)
    Rule(
        "people/born",
        "person",
        "When was {x} born?",
        rf"^(?:.*?; )?(?:born:? ?)?(?P<a>{DATED})(?=$|,| in |;| at | [–-]|[–-])",
        "span",
    ),
    Rule(
        "people/died",
        "person",
        "When did {x} die?",
        rf"(?:^died |[–-] ?|; died )(?:died )?(?P<a>{DATED})(?=$|,| in |;| at )",
        "span",
    ),
    Rule(
        "people/birthplace",
        "person",
        "Where was {x} born?",
        rf"^(?:born )?{DATED}(?:,| in| at) (?P<a>{PLACE})(?= ?[–-]|$)",
        "span",
    ),
    Rule(
        "people/deathplace",
        "person",
        "Where did {x} die?",
        rf"[–-] ?{DATED}(?:,| in| at) (?P<a>{PLACE})$",
        "span",
    ),
    Rule(
        "people/birthplace",
        "person",
        "Where was {x} born?",
        rf"\b{{this}} was born {_IN}(?:the (?:city|town|village) of )?(?P<a>{PLACE})",
    ),
    Rule("people/birthplace", "person", "Where was {x} born?", rf", (?:was )?born {_IN}(?P<a>{PLACE})", "first"),
    Rule("people/deathplace", "person", "Where did {x} die?", rf"\b{{this}} (?:\w+ )?died {_IN}(?P<a>{PLACE})"),
    Rule(
        "people/buried",
        "person",
        "Where was {x} buried?",
        rf"\b(?:was|is|were) (?:\w+ )?(?:buried|interred) (?:in|at) (?P<a>{PLACE})",
    ),
)

_FAMILY = (
    Rule(
        "people/father",
        "person",
        "Who was the father of {x}?",
        rf"{_IS_CHILD}{_WHOSE}(?P<a>{_NOBLE} {NAME}|{NAME}(?=,? and {_HIS_WIFE}?{NAME}))",
    ),
    Rule(
        "people/father",
        "person",
        "Who was the father of {x}?",
        r"^(?:(?!\b(?:son|daughter|wife|husband|mother|married)\b).)*\b(?:son|daughter) (?:and \w+ )?of "
        rf"{_WHOSE}(?P<a>{_NOBLE} {NAME}|{NAME}(?=,? and {_HIS_WIFE}))",
        "first",
    ),
    Rule("people/father", "person", "Who was the father of {x}?", rf"\b[Hh](?:is|er) father(?: was|,) (?P<a>{NAME})"),
    Rule(
        "people/mother",
        "person",
        "Who was the mother of {x}?",
        rf"{_IS_CHILD}[^.;()]{{3,80}}?,? and {_HIS_WIFE}(?P<a>{NAME})(?=$|[.,;(])",
    ),
    Rule("people/mother", "person", "Who was the mother of {x}?", rf"\b[Hh](?:is|er) mother(?: was|,) (?P<a>{NAME})"),
    Rule(
        "people/spouse",
        "person",
        "Whom did {x} marry?",
        rf"\b{{this}} (?:was |is )?(?:\w+ )?married (?:on {DATE} |in {YEAR} |to )?(?:to )?{_WHOSE}(?P<a>{NAME})",
    ),
    Rule(
        "people/husband",
        "person",
        "Who was the husband of {x}?",
        rf"\b{{this}} (?:was|is) (?:the|a) (?:\w+ )?wife of {_WHOSE}(?P<a>{NAME})",
    ),
    Rule(
        "people/sibling",
        "person",
        "Of whom was {x} a brother?",
        rf"\b(?:the|a|is|was) (?:\w+[ -]){{0,2}}?brother of {_WHOSE}(?P<a>{NAME})",
        "first",
    ),
    Rule(
        "people/child",
        "person",
        "Who was a child of {x}?",
        rf"\b(?:the|a|is|was) (?:\w+[ -]){{0,2}}?(?:father|mother) of {_WHOSE}(?P<a>{NAME})",
    ),
)

_DOING = (
    Rule(
        "people/nationality",
        "person",
        "What is the nationality of {x}?",
        rf"\b(?:is|was) (?:an?|the) (?:\w+ ){{0,2}}?(?P<a>{DEMONYMS})(?= [a-z])(?! and )",
        "first",
    ),
    Rule(
        "people/position",
        "person",
        "Which position does {x} play?",
        rf"\bplay(?:s|ed) (?:\w+ )?as (?:an? )?(?P<a>(?:[a-z]+[ -]){{0,2}}?{_POSITIONS})\b",
    ),
    Rule(
        "people/club",
        "person",
        "Which team does {x} play for?",
        r"\b(?:currently )?plays (?:\w+ )?(?:as an? [\w -]+? )?(?:for|with) (?:the |club |side |\w+ club )?"
        rf"(?P<a>{NAME})",
    ),
    Rule(
        "people/olympics",
        "person",
        "At which games did {x} compete?",
        rf"\bcompeted (?:for \w+ )?(?:in [\w' -]+? )?(?:at|in) the (?P<a>{_GAMES})",
        is_every=True,
    ),
    Rule(
        "people/education",
        "person",
        "Where was {x} educated?",
        r"\b(?:graduated from|alumn(?:us|a) of|was educated (?:at|in)|studied at|attended) (?:the )?"
        rf"(?P<a>{NAME})",
    ),
    Rule(
        "people/role",
        "person",
        "For the role of which character is {x} known?",
        r"\bknown for (?:his|her) (?:\w+ )?(?:role|portrayal|performance) (?:as|of) "
        r"(?P<a>[A-Z][^.,;()]{2,40}?)(?= (?:in|on|from) )",
    ),
)

_WORKS = (
    Rule("works/director", "film", "Who directed {x}?", rf"\bdirected by {_WHOSE}(?P<a>{NAMES})", is_list=True),
    Rule("works/producer", "film", "Who produced {x}?", rf"\bproduced by {_WHOSE}(?P<a>{NAMES})", is_list=True),
    Rule(
        "works/writer",
        "work",
        "Who wrote {x}?",
        r"^(?:(?!\b(?:based|novel|book|story|stories|adapted|play|poem)\b).)*\bwritten "
        rf"(?:and (?:directed|produced|composed|illustrated) )?by {_WHOSE}(?P<a>{NAMES})",
        is_list=True,
    ),
    Rule(
        "works/cast",
        "film",
        "Who starred in {x}?",
        rf"\b(?:starring|[Tt]h(?:e|is) film stars|[Ii]t stars) (?P<a>{NAMES})",
        is_list=True,
    ),
    Rule(
        "works/music",
        "film",
        "Who composed the music of {x}?",
        r"\b(?:music|score|soundtrack) (?:is |was |were )?(?:composed |written |scored )?by "
        rf"{_WHOSE}(?P<a>{NAMES})",
        is_list=True,
    ),
    Rule(
        "works/distributor",
        "film",
        "Which company released {x}?",
        rf"\b(?:distributed|released) (?:\w+ )?(?:by|through) (?P<a>{NAME})",
    ),
    Rule(
        "works/year",
        "film",
        "In which year did {x} come out?",
        rf"\b(?:is|was) an? (?P<a>{YEAR}) [\w', /-]*?{FILM}\b",
        "first",
    ),
    Rule(
        "works/released",
        "work",
        "When was {x} released?",
        rf"\b(?:released|premiered|published|aired) (?:\w+ )?(?:in \w+(?: \w+)? )?(?:on|in) (?P<a>{DATE})",
    ),
    Rule(
        "works/artist",
        "music",
        "Who recorded {x}?",
        rf"\b(?:is|was) (?:the|an?) [\w', -]*?{MUSIC} (?:recorded |released |performed )?(?:by|from) "
        rf"{_WHOSE}(?P<a>{NAME})(?![\w' -]*\b(?:band|group|singer|rapper|duo|artist)\b)",
        "first",
    ),
    Rule(
        "works/author",
        "book",
        "Who wrote {x}?",
        rf"\b(?:is|was) (?:the|an?) [\w', -]*?{BOOK}s? by {_WHOSE}(?P<a>{NAME})",
        "first",
    ),
    Rule(
        "works/source",
        "film",
        "Who wrote the work that {x} is based on?",
        r"\bbased on (?:the|an?|his|her) (?:[\w -]+ )?(?:novel|play|book|story|memoir|musical)[^.;]*? by "
        rf"{_WHOSE}(?P<a>{NAME})",
    ),
)

_PLACES = (
    Rule(
        "places/where",
        "place",
        "Where is {x} located?",
        r"\b(?:is|was) (?:an?|the|one) (?:[\w'-]+[, ]+){1,8}?(?:located |situated |based )?(?:in|near|at) "
        rf"(?P<a>{PLACE})",
        "first",
    ),
    Rule(
        "places/founded",
        "organisation",
        "When was {x} founded?",
        r"\b(?:founded|established|formed|incorporated|created|built|opened|launched) (?:in|on) (?:the )?"
        rf"(?P<a>{DATE})",
    ),
    Rule(
        "places/founder",
        "organisation",
        "Who founded {x}?",
        rf"\bfounded (?:in {YEAR} |on {DATE} )?by {_WHOSE}(?P<a>{NAMES})",
        is_list=True,
    ),
    Rule(
        "places/headquarters",
        "organisation",
        "Where does {x} have its headquarters?",
        rf"\b(?:headquartered|headquarters (?:is|are|was|were)|based) (?:located )?in (?P<a>{PLACE})",
    ),
)

RULES = (*_LIFE, *_FAMILY, *_DOING, *_WORKS, *_PLACES)
"""All of them; of two with one name that match, the first counts."""
