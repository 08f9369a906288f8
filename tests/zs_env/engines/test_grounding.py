import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.engines.grounding import Grounder
from zs_env.questions import load_atlas

GROUNDER = Grounder(load_atlas())


@pytest.mark.parametrize(
    ("query", "entity", "relation"),
    [
        ("capital of France", "France", "capital"),
        ("France capital", "France", "capital"),
        ("what's the capital city of france?", "France", "capital"),
        ("  CAPITAL   of\tFRANCE!!", "France", "capital"),
        ("USA dial code", "United States", "calling_code"),
        ("country code of Japan", "Japan", "calling_code"),
        ("what money do they use in Burma", "Myanmar", "currency"),
        ("main language of the Czech Republic", "Czech Republic", "language"),
        ("language spoken in Czechia", "Czech Republic", "language"),
        ("internet domain of the Netherlands", "Netherlands", "domain"),
        ("continent of Cote d'Ivoire", "Ivory Coast", "continent"),
        ("capital of sao tome and principe", "São Tomé and Príncipe", "capital"),
        ("capital of Democratic Republic of Congo", "Democratic Republic of the Congo", "capital"),
        ("country of Lyon", "Lyon", "country"),
        ("where is Łódź", "Łódź", "country"),
        ("where is lodz", "Łódź", "country"),
        ("which country is Bombay in", "Mumbai", "country"),
    ],
)
def test_queries_in_many_forms(query, entity, relation):
    grounding = GROUNDER.ground(query)
    assert grounding.entity is not None
    assert (grounding.entity.name, grounding.relation) == (entity, relation)
    assert not grounding.asks_other


def test_the_longest_name_wins():
    for query, name in [
        ("capital of Guinea", "Guinea"),
        ("capital of Guinea-Bissau", "Guinea-Bissau"),
        ("capital of guinea bissau", "Guinea-Bissau"),
        ("capital of Papua New Guinea", "Papua New Guinea"),
        ("capital of South Sudan", "South Sudan"),
    ]:
        assert GROUNDER.ground(query).entity.name == name


def test_a_name_that_has_the_asked_relation_is_preferred():
    assert GROUNDER.ground("nice capital of France").entity.name == "France"
    assert GROUNDER.ground("the country of Nice near Italy").entity.name == "Nice"


def test_the_whole_two_hop_question_asks_for_hop_one():
    for question in ("What is the capital of the country where Lyon is located?", "currency of the country of Lyon"):
        grounding = GROUNDER.ground(question)
        assert (grounding.entity.name, grounding.relation) == ("Lyon", "country")


def test_a_relation_that_the_entity_lacks():
    grounding = GROUNDER.ground("currency of Lyon")
    assert (grounding.entity.name, grounding.relation, grounding.asks_other) == ("Lyon", None, True)


def test_nothing_to_find():
    assert GROUNDER.ground("hello there").entity is None
    assert GROUNDER.ground("") == GROUNDER.ground("???")
    assert GROUNDER.ground("capital").relation == "capital"


@given(st.text(st.characters(), max_size=2_000))
def test_any_text_is_read(text):
    GROUNDER.ground(text)


def test_every_question_of_the_atlas_is_grounded_in_its_first_fact():
    for world in load_atlas().worlds.values():
        for question in world.questions:
            entity, relation, _ = question.metadata["facts"][0]
            grounding = GROUNDER.ground(question.question)
            assert grounding.entity is not None, question.question
            assert (grounding.entity.name, grounding.relation) == (entity, relation), question.question


def test_every_fact_is_found_by_the_demonstrated_query():
    for world in load_atlas().worlds.values():
        for fact in world.facts.values():
            for name in (fact.entity.name, *fact.entity.aliases):
                grounding = GROUNDER.ground(f"{world.phrase(fact.relation)} of {name}")
                assert (grounding.entity, grounding.relation) == (fact.entity, fact.relation), name
