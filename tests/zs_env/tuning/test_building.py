from __future__ import annotations

from typing import Any

import pytest

from tests.zs_env.tuning.searches import labelled, passage, searches
from zs_env.engines.llm.parsing import parse_reply
from zs_env.engines.llm.prompts import PromptWriter, load_prompts
from zs_env.errors import ConfigError
from zs_env.matching import find_matcher
from zs_env.tuning.building import BuildSettings, build, question_groups
from zs_env.tuning.records import Example, Label, LabelledSearch
from zs_env.types import Document, Question, SearchRequest


def documents(example: Example) -> list[str]:
    return [each.text for each in parse_reply(example.completion[0]["content"], 20).documents]


def everything(settings: BuildSettings | None = None) -> list[Example]:
    built = build(searches(), settings or BuildSettings(min_likeness=0.0))
    return built.train + built.held_out


def test_useful_examples_hold_an_answer_and_noisy_ones_none() -> None:
    examples = everything()
    assert {each.quality for each in examples} == {"useful", "noisy"}
    for each in examples:
        matcher = find_matcher(tuple(each.question.golden_answers), each.question.question)
        held = [bool(matcher.is_held(text) or matcher.is_hinted(text)) for text in documents(each)]
        assert any(held) == (each.quality == "useful")


def test_an_example_holds_as_many_documents_as_its_prompt_asks_for() -> None:
    examples = everything()
    words = {1: "one useful document", 2: "two useful documents", 3: "three useful documents"}
    for each in examples:
        assert len(documents(each)) == each.num_documents
        if each.quality == "useful" and each.num_documents in words:
            assert words[each.num_documents] in each.prompt[-1]["content"]
    assert len({each.num_documents for each in examples}) > 1


def test_the_prompt_is_what_the_simulator_is_asked() -> None:
    [example, *_] = everything(BuildSettings(min_likeness=0.0, persona="Wikipedia", document_words=20))
    writer = PromptWriter(mode="sft", prompts=load_prompts("sft"), persona="Wikipedia", document_words=20)
    request = SearchRequest(
        query=example.query,
        question=example.question,
        quality=example.quality,
        noise_probability=0.5,
        seed=0,
        topk=example.num_documents,
    )
    written = writer.write(request, count=example.num_documents, gives_answer=True)
    assert list(example.prompt) == [{"role": "system", "content": ""}, *written]


def test_the_document_with_the_answer_stands_at_any_place() -> None:
    places = set()
    for seed in range(5):
        for each in everything(BuildSettings(min_likeness=0.0, order="shuffled", seed=seed)):
            if each.quality == "useful" and each.num_documents > 1:
                matcher = find_matcher(tuple(each.question.golden_answers), each.question.question)
                places.add([bool(matcher.is_held(text)) for text in documents(each)].index(True))
    assert len(places) > 1


def test_best_first_the_document_with_the_answer_comes_first() -> None:
    for each in everything(BuildSettings(min_likeness=0.0, min_documents=3, max_documents=3)):
        assert 2 <= each.num_documents <= 3
        if each.quality == "useful":
            matcher = find_matcher(tuple(each.question.golden_answers), each.question.question)
            assert matcher.is_held(documents(each)[0])


def test_noise_may_be_what_a_useful_document_says_beside_the_answer() -> None:
    noisy = [each for each in everything() if each.quality == "noisy"]
    assert any(each.question.question.split()[2] in documents(each)[0] for each in noisy)


def test_without_filling_every_useful_document_holds_an_answer() -> None:
    for each in everything(BuildSettings(min_likeness=0.0, fill=False)):
        if each.quality == "useful":
            matcher = find_matcher(tuple(each.question.golden_answers), each.question.question)
            assert all(matcher.is_held(text) for text in documents(each))


def test_as_many_examples_of_one_kind_as_of_the_other() -> None:
    some = searches()
    nothing_useful = [
        labelled(
            Question(id=f"n{number}", question=f"Who painted the mill of {number}?", golden_answers=("Nobody Known",)),
            "Where was Ada Alder born?",
            [passage(0), passage(1)],
            f"n{number}",
        )
        for number in range(8)
    ]
    built = build([*some, *nothing_useful], BuildSettings(min_likeness=0.0))
    kinds = [each.quality for each in built.train]
    assert kinds.count("useful") == kinds.count("noisy") > 0
    assert built.left_out["noisy: more than of the other kind"] > 0
    unbalanced = build([*some, *nothing_useful], BuildSettings(min_likeness=0.0, balance=False))
    assert len(unbalanced.train) > len(built.train)


def test_noise_that_strays_from_the_query_is_left_out() -> None:
    astray = Document("Some cats like milk while other cats like fish, and most of them sleep through the day.")
    question = Question(id="q", question="Where was Ada Alder born?", golden_answers=("Rome",))
    useful = Document("Ada Alder was born in Rome.")
    some = [labelled(question, "Where was Ada Alder born?", [useful, astray], "1")]
    strict = build(some, BuildSettings(min_likeness=0.5, balance=False, held_out=0.0))
    assert [each.quality for each in strict.train] == ["useful"]
    assert strict.left_out["noisy: too little like the query"] == 1
    assert len(build(some, BuildSettings(min_likeness=0.0, balance=False, held_out=0.0)).train) == 2


def test_what_a_judge_refused_is_neither_useful_nor_noise() -> None:
    [one] = searches(1)
    refused = LabelledSearch(
        search=one.search, labels=tuple(Label(quality="noisy", by_answer=True, by_judge=False) for _ in one.labels)
    )
    built = build([refused], BuildSettings(min_likeness=0.0, balance=False, held_out=0.0))
    assert {each.quality for each in built.train} == {"noisy"}
    assert built.left_out["useful: no excerpt holds an answer"] == 1


def test_held_out_questions_share_no_useful_document_with_the_others() -> None:
    some = searches()
    same = Question(id="again", question="In which city did Ada Alder see the light of day?", golden_answers=("Rome",))
    some.append(labelled(same, same.question, [passage(0)], "again"))
    groups = question_groups(some)
    assert groups["again"] == groups["q0"] != groups["q1"]
    for seed in range(6):
        built = build(some, BuildSettings(min_likeness=0.0, held_out=0.4, seed=seed))
        held = {each.search.question.id for each in built.questions}
        assert held
        assert not held & {each.question.id for each in built.train}
        assert {each.question.id for each in built.held_out} <= held
        assert len({"again", "q0"} & held) != 1


def test_held_out_questions_say_nothing_in_other_words_that_the_others_say() -> None:
    one = Question(id="1st", question="who won the battle of the first battle of bull run", golden_answers=("Rome",))
    again = Question(id="2nd", question="who won the 1st battle of bull run", golden_answers=("Rome",))
    some = [labelled(each, each.question, [passage(number)], each.id) for number, each in ((1, one), (2, again))]
    groups = question_groups([*searches(), *some])
    assert groups["1st"] == groups["2nd"]


def test_a_simulator_is_judged_by_questions_that_the_documents_answer() -> None:
    unknown = Question(id="unknown", question="Who painted the mill of Zwolle?", golden_answers=("Nobody Known",))
    some = [*searches(), labelled(unknown, unknown.question, [passage(0), passage(1)], "unknown")]
    for seed in range(20):
        built = build(some, BuildSettings(min_likeness=0.0, held_out=0.5, balance=False, seed=seed))
        assert "unknown" not in {each.search.question.id for each in built.questions}
        if "unknown" not in {each.question.id for each in built.train}:
            assert built.left_out["held-out question: no useful document was found for it"] == 1
            return
    raise AssertionError("the question was never held out")


def test_more_searches_of_a_question_than_are_wanted_are_left_out() -> None:
    built = build(searches(repeat=2), BuildSettings(min_likeness=0.0))
    assert built.left_out["the same query again"] == 10


def test_equal_seeds_build_equal_examples() -> None:
    one, again, other = (build(searches(), BuildSettings(min_likeness=0.0, seed=seed)).train for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_nothing_to_build_says_why() -> None:
    question = Question(id="q", question="Is Ada Alder a poet?", golden_answers=("yes",))
    with pytest.raises(ConfigError, match="yes or no"):
        build([labelled(question, "Ada Alder", [passage(0)], "1")], BuildSettings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("document_words", 1),
        ("max_documents", 0),
        ("order", "worst"),
        ("held_out", 1.0),
        ("min_likeness", -1),
        ("seed", -1),
    ],
)
def test_settings_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        BuildSettings(**{name: value})
