"""Which documents are kept from reply to reply."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.zs_env.engines.llm.helpers import FRANCE, ask
from zs_env.engines.llm.checking import make_check
from zs_env.engines.llm.drafts import Drafts, Examples
from zs_env.types import Document, Question

HOPS = Question(id="two", question="Which money has the land of Tartu?", golden_answers=("euro",), metadata={"hops": 2})


def drafts(topk: int = 3, seed: int = 1, examples: tuple[str, ...] = (), **request: object) -> Drafts:
    check = make_check(ask(topk=topk, **request))  # type: ignore[arg-type]
    return Drafts(check, topk, seed, Examples.of(map(Document, examples)))


def add(made: Drafts, *texts: str) -> None:
    made.add([Document(text) for text in texts])


def texts(made: Drafts) -> list[str]:
    return [document.text for document in made.delivered()]


def test_only_what_is_missing_is_asked_for() -> None:
    made = drafts()
    assert (made.num_missing, made.is_done) == (3, False)
    add(made, "Paris is the capital.", "Old France is large.")
    assert (made.num_missing, made.is_done) == (1, False)
    add(made, "France has coasts on two seas.")
    assert made.is_done
    assert made.num_left_out == 0


def test_a_full_set_without_the_answer_gets_it_at_a_drawn_place() -> None:
    places = set()
    for seed in range(40):
        made = drafts(seed=seed)
        add(made, "The capital is large.", "France is old.", "A capital has many roads.")
        assert (made.num_missing, made.is_done) == (2, False)
        add(made, "France has wine.")  # doesn't help, so it replaces nothing
        assert "France has wine." not in texts(made)
        add(made, "Paris, of course.")
        assert made.is_done
        assert made.num_left_out == 2
        places.add(texts(made).index("Paris, of course."))
    assert places == {0, 1, 2}


def test_a_document_that_says_the_same_but_for_the_answer_takes_the_place_of_the_one_without() -> None:
    wrong = "As every map of Europe says, the capital of France since the Middle Ages is Lyon."
    made = drafts()
    add(made, "France is old.", wrong, "A capital has many roads.")
    add(made, wrong.replace("Lyon", "Marseille"))  # helps no more than what is there
    assert texts(made)[1] == wrong
    add(made, wrong.replace("Lyon", "Paris"))
    assert texts(made) == ["France is old.", wrong.replace("Lyon", "Paris"), "A capital has many roads."]
    assert (made.verdict, made.is_done, made.num_left_out) == (True, True, 2)
    add(made, wrong.replace("Lyon", "Paris,"))
    assert made.num_left_out == 3


def test_the_same_of_a_document_that_was_held_back() -> None:
    wrong = "As every map of Europe says, the largest city since the Middle Ages is Lyon."
    made = drafts()
    add(made, wrong)
    add(made, wrong.replace("Lyon", "Paris"))
    assert texts(made) == [wrong.replace("Lyon", "Paris")]
    assert made.verdict is True


def test_documents_that_may_not_hold_the_answer_are_left_out_and_told_if_there_is_nothing_else() -> None:
    made = drafts(quality="noisy")
    add(made, "Paris is the capital.", "The capital is large.")
    assert texts(made) == ["The capital is large."]
    only = drafts(quality="noisy")
    add(only, "Paris is the capital.")
    assert texts(only) == ["Paris is the capital."]
    assert not only.is_done


def test_nearly_the_same_documents_and_copied_examples_are_left_out() -> None:
    example = "The tower is painted every seven years by twenty painters of the capital."
    made = drafts(quality="noisy", examples=(example,))
    add(made, example, "In 2004 the capital of France was moved to another town.")
    add(made, "In 2012 the capital of France was moved to another town!", "The capital has parks.")
    assert texts(made) == ["In 2004 the capital of France was moved to another town.", "The capital has parks."]
    assert made.num_left_out == 2


def test_a_document_of_the_examples_stays_where_it_answers_the_question() -> None:
    example = "The capital of France is Paris, as every guide to the country says."
    made = drafts(examples=(example,))
    add(made, example)
    assert texts(made) == [example]


def test_what_has_no_word_of_the_query_only_fills_up() -> None:
    made = drafts(quality="noisy")
    add(made, "Once upon a time.", "The capital is large.")
    assert made.num_missing == 2
    add(made, "France is old.", "Once more.")
    assert texts(made) == ["The capital is large.", "France is old.", "Once upon a time."]
    assert not made.is_done
    add(made, "French is spoken in France and Belgium.")
    assert made.is_done
    assert "Once upon a time." not in texts(made)


def test_a_model_that_writes_in_another_language_is_asked_twice_and_then_believed() -> None:
    made = drafts(quality="noisy", query="法国的首都是哪里")
    add(made, "The city is large.", "It has a river.", "Many people live there.")
    assert not made.is_done
    add(made, "Its streets are long.")
    assert made.is_done
    assert len(texts(made)) == 3


def test_a_step_that_is_not_about_the_query_can_still_be_met() -> None:
    made = drafts(topk=2, question=HOPS, query="Tartu town land river")
    add(made, "A river is long.", "Another river is short and wide.")
    assert not made.is_done  # one word of four
    add(made, "The land of Tartu is Estonia.")
    assert made.is_done


@given(
    replies=st.lists(
        st.lists(
            st.sampled_from(["Paris.", "capital a", "France b", "x y z", "u v w", "France c", "Paris d"]), max_size=6
        ),
        max_size=6,
    ),
    topk=st.integers(1, 4),
    noisy=st.booleans(),
)
def test_never_more_than_asked_for_never_a_document_twice_and_noise_stays_free_of_answers(
    replies: list[list[str]], topk: int, noisy: bool
) -> None:
    made = drafts(topk, quality="noisy" if noisy else "useful")
    seen: list[str] = []
    for reply in replies:
        add(made, *reply)
        found = texts(made)
        assert len(found) <= topk
        assert len(set(found)) == len(found)
        assert made.num_missing >= 1
        assert made.num_left_out >= 0
        seen += reply
        if noisy and any("Paris" not in text for text in seen):
            assert not any("Paris" in text for text in found)
        if made.is_done:
            assert len(found) == topk
            assert noisy or any(FRANCE.golden_answers[0] in text for text in found)
