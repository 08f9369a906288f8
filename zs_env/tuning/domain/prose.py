"""Questions from sentences of any English text: documentation, manuals, handbooks.

What a sentence says of its subject is asked for by the subject, and a number by "how many": the words of the sentence
stay, and their order changes little, so that what comes out is English. Sentences that lean on others ("It …") give
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zs_env.tuning.domain.candidates import Candidate
from zs_env.tuning.domain.corpus import Passage
from zs_env.tuning.domain.names import NAME
from zs_env.tuning.domain.tables import answers_of_code
from zs_env.tuning.sentences import sentences_of, words_set

__all__ = ["name_of_code", "prose_candidates", "self_contained"]

_VERB = (
    r"(?:(?:can|may|must|cannot|can't|doesn't|does not|also|always|never|only|then) )?"
    r"(?:is|was|has|does|goes|says|makes|takes|gives|writes|reads|runs|shows|tells|keeps|holds|needs|sets|sends|starts|stops|"
    r"lists|counts|measures|builds|checks|loads|saves|turns|puts|adds|draws|plays|uses|finds|asks|answers|fills|leaves|brings|"
    r"trains|spreads|compares|returns|prints|names|opens|drops|moves|lets|stands|means|repeats|resumes|deletes|chooses|picks|"
    r"splits|merges|collects|records|replays|registers|serves|watches|limits|allows|raises|refuses|works|wraps|[a-z]{3,}[^aeious]s|copies|tries|follows|"
    r"decides|estimates|plans|scores|judges|drives|creates|removes|provides|supports|enables|controls|specifies|describes|"
    r"contains|defines|prevents|increases|reduces|selects|changes|converts|installs|generates|handles|performs|produces)"
)
_CODE_SUBJECT = re.compile(rf"^`(?P<a>[^`]{{2,60}})` (?P<rest>{_VERB} .+)$")
_HEADED = re.compile(
    r"^`(?P<a>[^`]{2,60})`(?: \([^)]*\))?(?:: | – | - )(?P<rest>(?:the|a|an|what|how|where|which|whether) .+)$"
)
_DEFINED = re.compile(
    rf"^(?:(?:An?|The) )?(?P<a>(?:{NAME}|(?<=A )[a-z][\w-]+(?: [a-z][\w-]+)?|(?<=An )[a-z][\w-]+(?: [a-z][\w-]+)?)) "
    r"(?P<rest>(?:is|was) (?:an?|the|one of) .+)$"
)
_COUNTED = re.compile(
    r"^(?P<subject>(?:An?|The|Each|Every|All|Most|Our|[A-Z`])[^,;:()]{0,60}?) "
    r"(?P<verb>has|have|holds|hold|takes|take|needs|need|makes|make|gives|give|reads|read|contains|contain|costs|cost|covers|cover|"
    r"lists|list|used|uses|use|took|had|held|gave|made|cost|reached|reaches|lasts|lasted|carries|carry|employs|employ|weighs|weigh|supports|support|"
    r"received|produces|produce|served|serves|allows|allow) "
    r"(?:about |at most |at least |only |up to |around |over |more than |nearly |almost )?"
    r"(?P<a>\d[\d,.]*\d|\d|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|"
    r"hundred) "
    r"(?P<noun>(?:[a-z][a-z-]+ ){0,1}?[a-z][a-z-]+s)\b(?! of\b)(?P<rest>[^.;:()]*)"
)
_PASSIVE = re.compile(
    rf"^(?P<subject>(?:The |An? )?[^,;:()`]{{3,60}}?) (?P<be>is|are|was|were) "
    r"(?P<verb>[a-z]+(?:ed|en|wn|ilt|ade|ung|ught)) "
    rf"(?P<rest>(?:[a-z]+ ){{0,3}})by (?:the )?(?P<a>{NAME}|`[^`]+`)(?=[ .,;:]|$)"
)
_STANDS_FOR = re.compile(r"(?P<long>(?:[A-Z]?[\w'-]+ ){1,7}[\w'-]+) \((?P<short>[A-Z][A-Za-z]*[A-Z]s?)\)")
_LEANS = re.compile(
    r"^(?:it|they|this|these|that|those|he|she|its|their|his|her|both|such|here|there|then|so|but|and|or|yet|thus|"
    r"hence|also|however|instead|otherwise|likewise|what|who|which|neither|either|one|two|three|others?|another|some|"
    r"none|all of|the (?:same|other|latter|former|first|second|third|last|next|rest|price|reason|result|figures?|"
    r"example|above|below|following))\b",
    re.IGNORECASE,
)
_LEANING_INSIDE = re.compile(r"\b(?:above|below|this|these|those|former|latter|as follows|see)\b", re.IGNORECASE)
_LEANING_EARLY = re.compile(
    r"^(?:\S+ ){0,3}(?:it|them|they|its|their|the same|do so|likewise|meanwhile|both|such|one)\b", re.IGNORECASE
)
_BASE = {
    "has": "have",
    "had": "have",
    "took": "take",
    "held": "hold",
    "gave": "give",
    "made": "make",
    "used": "use",
    "reached": "reach",
    "lasted": "last",
    "received": "receive",
    "served": "serve",
    "cost": "cost",
    "carries": "carry",
    "reaches": "reach",
}
_PAST = words_set("had took held gave made used reached lasted received served")


def self_contained(sentence: str) -> bool:
    """Whether a sentence says something without those around it.

    Examples:
        >>> self_contained("It runs."), self_contained("Each run has a folder of its own.")
        (False, True)
    """
    return (
        5 <= len(sentence.split()) <= 40
        and not _LEANS.match(sentence.lstrip('`*_"“('))
        and sentence.count("`") % 2 == 0
    )


def name_of_code(code: str) -> str:
    """What a piece of code is called in a question.

    Examples:
        >>> [name_of_code(code) for code in ("--seed", "python -m zs_env play", "report.json", "make_engine()", "topk")]
        ['flag', 'command', 'file', 'function', 'name']
    """
    if code.startswith("-"):
        return "flag"
    if re.fullmatch(r"\[[\w.-]+\]", code):
        return "table"
    if re.match(r"[\w.]+ ?=|\[[\w.-]+\] \w", code):
        return "setting"
    if re.match(r"(?:python|pip|make|git|docker|npm|curl|ray|sudo|uv|\$) |[\w./-]+ .*--\w", code):
        return "command"
    if re.search(r"\w\([^()]*\)$", code):
        return "function"
    if re.fullmatch(
        r"[\w./*<>-]*\.(?:py|json|jsonl|md|txt|toml|yaml|yml|csv|parquet|html|log|gguf|cfg|ini|sh)|[\w./<>-]+/", code
    ):
        return "file" if not code.endswith("/") else "folder"
    if re.fullmatch(r"[A-Z][a-z]+(?:[A-Z][a-z0-9]*)+", code):
        return "class"
    if re.fullmatch(r"[A-Z][A-Z0-9_]{3,}", code.lstrip("$")):
        return "variable"
    return "name"


def prose_candidates(passage: Passage) -> Iterator[Candidate]:
    """What the sentences of a passage tell, each by itself."""
    about = passage.title.partition(" – ")[0]
    for line in passage.text.split("\n"):
        for sentence in sentences_of(line):
            if self_contained(sentence) and not _LEANING_INSIDE.search(sentence):
                yield from _of_sentence(passage.id, about, sentence)
        yield from _abbreviations(passage.id, line)


def _of_sentence(passage: str, about: str, sentence: str) -> Iterator[Candidate]:
    def made(pattern: str, question: str, *answers: str) -> Candidate:
        return Candidate(
            question=question, answers=answers, pattern=f"prose/{pattern}", passage=passage, sentence=sentence
        )

    code = _CODE_SUBJECT.match(sentence)
    if code and (rest := _clause(code["rest"])) and code["a"] not in rest:
        yield made("code", f"Which {name_of_code(code['a'])} {rest} ({about})?", *answers_of_code(code["a"]))
    headed = _HEADED.match(sentence)
    if headed and (rest := _clause(headed["rest"])) and headed["a"] not in rest:
        yield made("code", f"Which {name_of_code(headed['a'])} is {rest} ({about})?", *answers_of_code(headed["a"]))
    defined = _DEFINED.match(sentence)
    if (
        defined
        and _is_term(sentence, defined["a"])
        and (rest := _clause(defined["rest"]))
        and defined["a"].casefold() not in rest.casefold()
    ):
        yield made("definition", f"What {rest} ({about})?", defined["a"])
    counted = _COUNTED.match(sentence)
    if counted and counted["subject"].split()[-1].casefold() not in ("which", "that", "who", "and", "or", "to"):
        verb = counted["verb"]
        helper = "did" if verb in _PAST else "do" if not verb.endswith("s") else "does"
        base = _BASE.get(verb) or verb.removesuffix("s")
        subject = _lowered(counted["subject"])
        yield made(
            "count",
            f"How many {counted['noun']} {helper} {subject} {base}{counted['rest'].rstrip()} ({about})?",
            counted["a"],
        )
    passive = _PASSIVE.match(sentence)
    if passive:
        said = f"{_lowered(passive['subject'])} {passive['verb']} {passive['rest']}".strip()
        yield made("passive", f"By whom or what {passive['be']} {said} ({about})?", passive["a"].strip("`"))


def _is_term(sentence: str, term: str) -> bool:
    """Whether what is defined is a name, or a noun with an article, and not just the first word of a sentence."""
    return not sentence.startswith(term) or " " in term or any(letter.isupper() for letter in term[1:])


def _clause(text: str) -> str:
    """What is said first, without what is added: up to a colon, a semicolon or a bracket; "" if too little is left."""
    clause = re.split(r"(?<=[\w`)\"]): |; | \(|(?<=[\w`)]) [–—] ", text)[0].rstrip(" .!;:,")
    is_whole = 4 <= len(clause.split()) <= 26 and clause.count("`") % 2 == 0
    return clause if is_whole and not _LEANING_EARLY.match(clause) else ""


def _lowered(subject: str) -> str:
    """A sentence's subject inside a question: articles lose their capital, names keep it."""
    first, _, rest = subject.partition(" ")
    return (
        f"{first.casefold()} {rest}" if first in ("A", "An", "The", "Each", "Every", "All", "Most", "Our") else subject
    )


def _abbreviations(passage: str, line: str) -> Iterator[Candidate]:
    for found in _STANDS_FOR.finditer(line):
        letters = [letter.casefold() for letter in found["short"].rstrip("s")]
        words = found["long"].split()
        tail = words[-len(letters) :]
        if len(tail) == len(letters) >= 2 and [word[0].casefold() for word in tail] == letters:
            yield Candidate(
                question=f"What does {found['short']} stand for?",
                answers=(" ".join(tail),),
                pattern="prose/abbreviation",
                passage=passage,
                sentence=line,
            )
