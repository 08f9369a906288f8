from __future__ import annotations

import pytest

from tests.zs_env.tuning.domain.library import passage
from zs_env.tuning.domain.cloze import cloze_candidates
from zs_env.tuning.domain.encyclopedic import encyclopedic_candidates
from zs_env.tuning.domain.prose import prose_candidates
from zs_env.tuning.domain.tables import table_candidates


def asked(title: str, text: str) -> dict[str, tuple[str, ...]]:
    return {one.question: one.answers for one in encyclopedic_candidates("0", title, text)}


@pytest.mark.parametrize(
    ("title", "text", "question", "answers"),
    [
        (
            "Ertem Eğilmez",
            "Ertem Eğilmez( 18 February 1929, Trabzon – 21 September 1989, Istanbul, Turkey) was a Turkish director.",
            "Where did Ertem Eğilmez die?",
            ("Istanbul, Turkey",),
        ),
        (
            "Teutberga",
            "Teutberga( died 11 November 875) was a queen of Lotharingia by marriage to Lothair II.",
            "When did Teutberga die?",
            ("11 November 875",),
        ),
        (
            "Jim Stevenson (footballer, born 1992)",
            "Jim Adam Stevenson( born 17 May 1992) is an English footballer who plays as a midfielder for Sports.",
            "What is the nationality of the footballer Jim Stevenson?",
            ("English",),
        ),
        (
            "Princess Marie",
            "Princess Marie (Georgine Marie; 23 May 1857 – 30 April 1882) was the third daughter of George Victor, "
            "Prince of Waldeck, and his wife Helena of Nassau.",
            "Who was the mother of Princess Marie?",
            ("Helena of Nassau",),
        ),
        (
            "Emmanuelle Seigner",
            "Emmanuelle Seigner (born 22 June 1966) is a French actress. She is married to Polish film "
            "director Roman Polanski.",
            "Whom did Emmanuelle Seigner marry?",
            ("Roman Polanski",),
        ),
        (
            "God of War (film)",
            "God of War is a 2017 Chinese war film directed by Gordon Chan and starring Vincent Zhao, "
            "Sammo Hung, and J. B. Yu.",
            "Who starred in the film God of War?",
            ("Vincent Zhao", "Sammo Hung", "J. B. Yu"),
        ),
        (
            "Three Live Ghosts",
            "Three Live Ghosts is a 1936 comedy film directed by H. Bruce Humberstone.",
            "Who directed the film Three Live Ghosts?",
            ("H. Bruce Humberstone",),
        ),
        (
            "Belle (album)",
            "Belle is the fourth studio album by New Zealand singer-song writer Bic Runga.",
            "Who recorded the album Belle?",
            ("Bic Runga",),
        ),
        (
            "Cherry Creek, Idaho",
            "Cherry Creek is an unincorporated community in Oneida County, Idaho, United States.",
            "Where is Cherry Creek, Idaho located?",
            ("Oneida County, Idaho, United States",),
        ),
        (
            "Henri Decoin",
            "Henri Decoin (born 1890) was a French swimmer. He competed in the 400 m freestyle at the 1908 Summer "
            "Olympics and he competed at the 1912 Summer Olympics.",
            "At which games did Henri Decoin compete?",
            ("1908 Summer Olympics", "1912 Summer Olympics"),
        ),
    ],
)
def test_articles_are_asked_for_what_they_say(title: str, text: str, question: str, answers: tuple[str, ...]) -> None:
    assert asked(title, text)[question] == answers


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("List of lakes", "List of lakes is a list of lakes in Finland."),
        ("Another Thing", "The passage begins in the middle. He was born in Rome."),
        ("Jane Capell", "Jane Capell (1770) was a peer."),
        ("Notes", "Notes is a 1951 film. It was made after the book written by Robert Louis Stevenson."),
    ],
)
def test_what_is_not_said_is_not_asked(title: str, text: str) -> None:
    questions = " ".join(asked(title, text))
    assert not any(word in questions for word in ("Where", "Whom", "Who wrote", "die"))


def test_a_subject_is_told_from_others_in_its_sentences() -> None:
    text = "Ulf (born 1010) was an earl. His brother Bo was married to Anna Dottir. Ulf died in Lund."
    found = asked("Ulf", text)
    assert "Whom did Ulf marry?" not in found
    assert found["Where did Ulf die?"] == ("Lund",)


def test_tables_are_asked_for_names_and_defaults() -> None:
    rows = (
        "flag: `--power W`; default: `40`; what it is: how much power the lamp may draw; more is dangerous\n"
        "flag: `--colour`; default: –; what it is: the same by night\n"
        "flag: `--mode`; default: one of `a`, `b`; what it is: two words"
    )
    assert [(one.question, one.answers) for one in table_candidates(passage(rows, title="The lamp – Flags"))] == [
        ("What is the default of the flag `--power W` (The lamp)?", ("40",)),
        ("Which flag is this (The lamp): how much power the lamp may draw?", ("--power", "--power W")),
    ]


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        (
            "`lamp.toml` holds the settings that the lamp reads when it starts.",
            "Which file holds the settings that the lamp reads when it starts (The lamp)?",
            "lamp.toml",
        ),
        (
            "Each lamp has 12 screws in its base.",
            "How many screws does each lamp have in its base (The lamp)?",
            "12",
        ),
        (
            "A Leslie Speaker is a cabinet with a horn that turns.",
            "What is a cabinet with a horn that turns (The lamp)?",
            "Leslie Speaker",
        ),
        ("The first lamp was built by Fay Gray.", None, ""),
        ("The hut was built by Fay Gray in 1931.", "By whom or what was the hut built (The lamp)?", "Fay Gray"),
        ("It holds the settings that the lamp reads.", None, ""),
        ("`--resume` does the same as above, but later.", None, ""),
    ],
)
def test_sentences_are_asked_for_their_subjects(sentence: str, question: str | None, answer: str) -> None:
    found = [(one.question, one.answers[0]) for one in prose_candidates(passage(sentence))]
    assert found == ([] if question is None else [(question, answer)])


def test_abbreviations_are_asked_for_if_their_letters_fit() -> None:
    text = "He works for the Medical Research Council (MRC) and the Big House (XYZ)."
    assert [(one.question, one.answers) for one in prose_candidates(passage(text))] == [
        ("What does MRC stand for?", ("Medical Research Council",))
    ]


def test_gaps_are_made_where_no_guess_fills_them() -> None:
    text = (
        "Whoever climbs the ridge from the valley meets `keeper.sh` on the way to the hut.\n"
        "It leans on the sentence before it, and so it has no gap at all.\n"
        "Every lamp in the hut and in the valley uses 2,400 cells in a year of snow.\n"
        "The way to the hut has been closed by the keeper since 5 of the bridges fell."
    )
    found = list(cloze_candidates(passage(text)))
    assert [one.answers for one in found] == [("keeper.sh",), ("2,400",)]
    assert found[0].question == (
        "Which word or words are missing (The lamp): “Whoever climbs the ridge from the valley meets ____ on the way "
        "to the hut.”"
    )
