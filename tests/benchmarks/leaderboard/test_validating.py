import json
from dataclasses import replace

import pytest

from benchmarks.leaderboard.episodes import write_episodes
from benchmarks.leaderboard.metrics import measure_set
from benchmarks.leaderboard.records import EPISODES, RECORD, episodes_sha256
from benchmarks.leaderboard.suites import load_set, load_suite
from benchmarks.leaderboard.validating import validate_record
from tests.benchmarks.leaderboard.making import a_record, an_episode, content_of, renamed, search
from zs_env.episode import Segment

EPISODES_OF_TWO_SETS = [
    an_episode(0, searches=[search()]),
    an_episode(1, None),
    an_episode(2, "Bob", seconds=0.5),
    *renamed([an_episode(0), an_episode(1, "Ada L")], "others"),
]


def changed(record, **given):
    """The record with other entries in its file, in the same folder."""
    path = record.folder / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | given))
    return validate_record(record.folder)


def with_episodes(record, episodes, **given):
    """The record with other episodes, and their true hash and number."""
    write_episodes(record.folder / EPISODES, episodes)
    held = {"file": EPISODES, "n": len(episodes), "sha256": episodes_sha256(record.folder / EPISODES)}
    return changed(record, episodes=held, **given)


@pytest.fixture
def record(tmp_path):
    return a_record(tmp_path, EPISODES_OF_TWO_SETS)


def test_a_record_as_it_was_written_is_valid(record):
    assert validate_record(record.folder) == []


def test_a_partial_record_is_valid_too(tmp_path):
    played = [*EPISODES_OF_TWO_SETS[:2], *EPISODES_OF_TWO_SETS[3:]]
    sets = content_of(EPISODES_OF_TWO_SETS)["sets"]
    sets[0]["metrics"] = measure_set(played[:2])
    record = a_record(tmp_path, played, sets=sets, state="partial", why_partial="the server is gone")
    assert validate_record(record.folder) == []
    told = changed(record, state="complete", why_partial=None)
    assert told == ["The record is complete, and of the set 'people' 2 of 3 were played."]


def test_a_folder_that_holds_no_record_is_told(tmp_path, record):
    assert "can't be read as a record" in validate_record(tmp_path)[0]
    (record.folder / EPISODES).unlink()
    assert "can't be read" in validate_record(record.folder)[0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seconds": "3"}, "seconds is '3', of the wrong type"),
        ({"num_failed": True}, "num_failed is True, of the wrong type"),
        ({"row": {"policy": "p"}}, "row has no 'agent'"),
        ({"sets": []}, "at least one set"),
        ({"sets": ["people"]}, r"sets\[0\] is no object"),
        ({"state": "done"}, "state is one of complete, partial; got 'done'"),
        ({"why_partial": "gone"}, "A partial record says why, and no other does"),
        ({"state": "partial"}, "A partial record says why"),
        ({"date": "yesterday"}, "date is a day"),
        ({"num_failed": 1}, "num_failed is 1, and 0 episodes failed"),
        ({"git": {"commit": "0" * 40, "dirty": False, "folder": "/home/ada/zs"}}, "a folder of a machine"),
        ({"model": {"base_url": "http://10.1.2.3:8000/v1"}}, "names a server"),
        ({"model": {"api_key": "x"}}, "is called like a secret"),
        ({"machine": {"note": "hf_abcdefghijklmnopqrstuvwx"}}, "looks like a key"),
    ],
)
def test_what_is_wrong_is_said(record, given, told):
    with pytest.raises(AssertionError, match=told):
        assert changed(record, **given) == []


def test_an_engine_is_of_a_known_kind(record):
    engine = record.content["engine"] | {"kind": "magic"}
    assert "closed-book, simulated, real, mixed; got 'magic'" in changed(record, engine=engine)[0]


def test_other_settings_belong_in_another_folder(record):
    settings = record.content["settings"] | {"seed": 3}
    assert any("Rename it" in each for each in changed(record, settings=settings))


def test_episodes_that_were_edited_are_told(record):
    write_episodes(record.folder / EPISODES, EPISODES_OF_TWO_SETS[1:])
    assert "its hash differs" in validate_record(record.folder)[0]


def test_a_score_that_the_answer_isnt_worth_is_told(record):
    lied = [replace(each, exact_match=1.0) for each in EPISODES_OF_TWO_SETS]
    told = with_episodes(record, lied)
    assert "people, question 1: exact_match is said to be 1.0, and the answer None is worth 0.0." in told
    told = with_episodes(record, [replace(each, num_searches=3) for each in EPISODES_OF_TWO_SETS])
    assert "people, question 0: 3 searches are said, and 1 are there." in told


def test_a_question_that_was_changed_is_told(record):
    told = with_episodes(record, [replace(each, question="Easier?") for each in EPISODES_OF_TWO_SETS])
    assert any("aren't those that the suite picked" in each for each in told)
    told = with_episodes(record, [replace(each, golden_answers=("",)) for each in EPISODES_OF_TWO_SETS])
    assert any("have the fingerprint None" in each for each in told)


def test_questions_that_are_left_out_or_twice_are_told(record):
    assert any(
        "complete, and of the set 'others' 1 of 2" in each for each in with_episodes(record, EPISODES_OF_TWO_SETS[:-1])
    )
    twice = [*EPISODES_OF_TWO_SETS[:2], EPISODES_OF_TWO_SETS[1], *EPISODES_OF_TWO_SETS[3:]]
    assert any("numbered 0 to 2" in each for each in with_episodes(record, twice))
    strange = renamed(EPISODES_OF_TWO_SETS[:1], "nobody")
    assert "which the record doesn't have" in with_episodes(record, strange)[0]


def test_many_problems_of_a_kind_are_counted(tmp_path):
    record = a_record(tmp_path, [an_episode(index, "Bob") for index in range(20)])
    told = with_episodes(record, [an_episode(index, "Bob", exact_match=1.0) for index in range(20)])
    assert len(told) == 6
    assert told[-1] == "… and 15 more of the kind."


def test_figures_are_made_again(record):
    sets = json.loads(json.dumps(record.content["sets"]))
    sets[0]["metrics"]["em"]["value"] = 0.9
    assert any("metrics of people: em: value is said to be 0.9" in each for each in changed(record, sets=sets))
    macro = json.loads(json.dumps(record.content["macro"]))
    macro["em"]["ci"][0] += 0.2
    assert any("macro: em: ci is said" in each for each in changed(record, sets=record.content["sets"], macro=macro))
    del macro["em"]
    assert any(each.startswith("macro says n, num_failed") for each in changed(record, macro=macro))
    assert any("macro: f1 says None" in each for each in changed(record, macro=record.content["macro"] | {"f1": None}))


def test_costs_are_made_again_where_someone_can(record):
    macro = record.content["macro"] | {"cost": {"value": 1.0, "ci": [1.0, 1.0], "n": 5}}
    assert changed(record, macro=macro) == []
    assert any("macro: cost" in each for each in validate_record(record.folder, costs_of=lambda content, played: None))


def test_segments_and_errors_hold_no_secrets(record):
    segments = (Segment("policy", "my key is sk-proj-0123456789abcdef01"),)
    told = with_episodes(record, [replace(each, segments=segments) for each in EPISODES_OF_TWO_SETS[:1]])
    assert any("people, question 0: segments" in each for each in told)
    failed = [replace(EPISODES_OF_TWO_SETS[0], status="failed", error="http://10.0.0.7 is gone")]
    assert any("names a server" in each for each in with_episodes(record, failed))
    documents = (Segment("environment", "See http://example.com and /home/page."),)
    told = with_episodes(record, [replace(each, segments=documents) for each in EPISODES_OF_TWO_SETS])
    assert told == []


def of_atlas(tmp_path, **given):
    loaded = load_set(load_suite("atlas").sets[0], limit=4)
    episodes = [
        an_episode(index, None, set="atlas", question_id=q.id, question=q.question, golden_answers=q.golden_answers)
        for index, q in enumerate(loaded.questions)
    ]
    entry = loaded.record() | {"metrics": measure_set(episodes)} | given
    return validate_record(a_record(tmp_path, episodes, suite={"name": "atlas", "version": 1}, sets=[entry]).folder)


def test_a_suite_of_the_project_is_held_against_its_pins(tmp_path):
    assert of_atlas(tmp_path / "a") == []
    assert "split is pinned to be 'test', and the record says 'train'" in of_atlas(tmp_path / "b", split="train")[0]
    told = of_atlas(tmp_path / "d", limit=5)
    assert told == [
        "Of the set 'atlas' the record holds other questions than a limit of 5 picks: the sample is always the same."
    ]
    told = of_atlas(tmp_path / "c", source_fingerprint="0" * 16)
    assert "source_fingerprint is pinned to be '3574b3409c74fa59'" in told[0]


def test_a_suite_of_another_version_or_other_sets_is_told(tmp_path):
    told = validate_record(a_record(tmp_path, [an_episode(0)], suite={"name": "atlas", "version": 9}).folder)
    assert "is at version 1, and the record's is 9" in told[0]
    told = validate_record(a_record(tmp_path, [an_episode(0)], suite={"name": "atlas", "version": 1}).folder)
    assert "has the sets atlas, and the record other ones" in told[0]
