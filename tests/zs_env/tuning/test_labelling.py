from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zs_env.tuning.helpers import collected
from zs_env.tuning.labelling import Agreement, find_agreement, label_search, summarise
from zs_env.tuning.records import Label, LabelledSearch

FRANCE = collected("France", "It is Paris.", "It has parks.")


def qualities(labelled: LabelledSearch) -> list[str | None]:
    return [label.quality for label in labelled.labels]


def test_a_document_that_holds_an_answer_is_useful() -> None:
    assert qualities(label_search(FRANCE, "answer")) == ["useful", "noisy"]


def test_a_title_that_is_the_answer_counts() -> None:
    from dataclasses import replace

    from zs_env.types import Document

    search = replace(FRANCE, documents=(Document("A city on the Seine.", title="Paris"),))
    assert qualities(label_search(search, "answer")) == ["useful"]


@pytest.mark.parametrize(
    ("golden", "why"), [(("yes",), "yes or no"), (("France",), "in the question"), (("!",), "no words")]
)
def test_where_it_cant_be_told_there_is_no_label(golden: tuple[str, ...], why: str) -> None:
    labelled = label_search(collected("France", "yes", "France", golden=golden), "answer")
    assert qualities(labelled) == [None, None]
    assert {label.why for label in labelled.labels} == {why}
    assert summarise([labelled])["why"] == {why: 2}


def test_a_judge_alone_decides_where_asked_to() -> None:
    labelled = label_search(FRANCE, "judge", [False, None], why_not=[None, "judge failed"])
    assert labelled.labels == (
        Label(quality="noisy", by_answer=True, by_judge=False),
        Label(quality=None, by_answer=False, by_judge=None, why="judge failed"),
    )
    assert label_search(FRANCE, "judge", [None, None]).labels[0].why == "no verdict"


@pytest.mark.parametrize(
    ("held", "helps", "prefer", "quality", "why"),
    [
        (True, True, None, "useful", None),
        (False, False, None, "noisy", None),
        (True, False, None, None, "disagreement"),
        (False, True, None, None, "disagreement"),
        (True, False, "answer", "useful", None),
        (True, False, "judge", "noisy", None),
        (False, True, "judge", "useful", None),
        (True, None, None, None, "no verdict"),
        (True, None, "judge", "useful", None),
        (None, True, None, None, "yes or no"),
        (None, True, "answer", "useful", None),
        (None, None, "answer", None, "yes or no"),
    ],
)
def test_both(held: bool | None, helps: bool | None, prefer: str | None, quality: str | None, why: str | None) -> None:
    golden = ("yes",) if held is None else ("Paris",)
    search = collected("France", "It is Paris." if held else "It has parks.", golden=golden)
    (label,) = label_search(search, "both", [helps], prefer=prefer).labels  # type: ignore[arg-type]
    assert label == Label(quality=quality, by_answer=held, by_judge=helps, why=why)  # type: ignore[arg-type]


def test_kappa_by_hand() -> None:
    # Cohen's example form: raw 35/50 = 0.7; chance 25/50*30/50 + 25/50*20/50 = 0.5; (0.7-0.5)/0.5 = 0.4
    found = Agreement(both_useful=20, answer_alone=5, judge_alone=10, both_noisy=15)
    assert found.raw == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.meaning == "fair"


@pytest.mark.parametrize(
    ("counts", "kappa", "meaning"),
    [
        ((5, 0, 0, 5), 1.0, "almost perfect"),
        ((0, 5, 5, 0), -1.0, "no better than chance"),
        ((25, 25, 25, 25), 0.0, "no better than chance"),
        ((0, 0, 0, 9), None, "nothing: one label is all that there is"),
        ((0, 0, 0, 0), None, "nothing: one label is all that there is"),
        ((0, 2, 0, 98), 0.0, "no better than chance"),  # a judge that calls all noisy agrees on 98 % and says nothing
    ],
)
def test_what_kappa_says(counts: tuple[int, int, int, int], kappa: float | None, meaning: str) -> None:
    names = ("both_useful", "answer_alone", "judge_alone", "both_noisy")
    found = Agreement(**dict(zip(names, counts, strict=True)))  # type: ignore[arg-type]
    assert found.kappa == (None if kappa is None else pytest.approx(kappa))
    assert found.meaning == meaning


@given(*[st.integers(0, 500)] * 4)
def test_kappa_is_a_number_of_at_most_one_and_doesnt_depend_on_who_is_first(a: int, b: int, c: int, d: int) -> None:
    found = Agreement(both_useful=a, answer_alone=b, judge_alone=c, both_noisy=d)
    turned = Agreement(both_useful=a, answer_alone=c, judge_alone=b, both_noisy=d)
    assert found.kappa == (None if turned.kappa is None else pytest.approx(turned.kappa))
    if found.kappa is not None and found.raw is not None:
        assert -1 - 1e-9 <= found.kappa <= found.raw + 1e-9


def test_agreement_counts_what_both_tell_something_of() -> None:
    labelled = [
        label_search(FRANCE, "both", [True, True]),
        label_search(FRANCE, "both", [False, None]),
        label_search(collected("Peru", "x", golden=("yes",)), "both", [True]),
    ]
    found = find_agreement(labelled)
    assert (found.both_useful, found.answer_alone, found.judge_alone, found.both_noisy) == (1, 1, 1, 0)
    assert {(one["document"], one["by_judge"]) for one in found.examples} == {
        ("It has parks.", True),
        ("It is Paris.", False),
    }
    assert len(find_agreement(labelled * 9, num_examples=3).examples) == 6
    assert found.to_json()["raw"] == pytest.approx(1 / 3)


def test_counts() -> None:
    labelled = [
        label_search(FRANCE, "answer"),
        label_search(collected("Peru", "parks", "more parks", exact_match=False), "answer"),
        label_search(collected("Italy", "Rome", exact_match=True), "answer"),
        label_search(collected("Cuba", "x", golden=("yes",)), "answer"),
    ]
    assert summarise(labelled) == {
        "num_searches": 4,
        "searches_useful": 2,
        "searches_noisy": 1,
        "searches_unlabelled": 1,
        "num_documents": 6,
        "documents_useful": 2,
        "documents_noisy": 3,
        "documents_unlabelled": 1,
        "why": {"yes or no": 1},
        "useful_when_right": [1, 1],
        "useful_when_wrong": [0, 2],
    }
