import json
from dataclasses import replace

import pytest

from benchmarks.leaderboard.episodes import write_episodes
from benchmarks.leaderboard.judging import agreement
from benchmarks.leaderboard.metrics import macro, measure_set
from benchmarks.leaderboard.records import EPISODES, RECORD, by_set, episodes_sha256
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


def measured(record, episodes, **given):
    """The record with other episodes, and with the figures that they give: what whoever forges one would write."""
    sets = by_set(record.content, episodes)
    entries = [
        each | {"metrics": measure_set(sets[each["name"]])} for each in given.pop("sets", record.content["sets"])
    ]
    return with_episodes(record, episodes, sets=entries, macro=macro(sets), **given)


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
    documents = Segment("environment", "See http://example.com and /home/page.")
    read = [replace(each, segments=(documents, *each.segments)) for each in EPISODES_OF_TWO_SETS]
    told = with_episodes(record, read)
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
    assert of_atlas(tmp_path / "d", limit=5) == [
        "The set 'atlas' has 1870 questions, of which a limit of 5 picks 5, and n is 4.",
        "Of the set 'atlas' the record holds other questions than a limit of 5 picks: the sample is always the same.",
    ]
    told = of_atlas(tmp_path / "c", source_fingerprint="0" * 16)
    assert "source_fingerprint is pinned to be '3574b3409c74fa59'" in told[0]


def test_a_suite_of_another_version_or_other_sets_is_told(tmp_path):
    told = validate_record(a_record(tmp_path, [an_episode(0)], suite={"name": "atlas", "version": 9}).folder)
    assert "is at version 1, and the record's is 9" in told[0]
    told = validate_record(a_record(tmp_path, [an_episode(0)], suite={"name": "atlas", "version": 1}).folder)
    assert "has the sets atlas, and the record other ones" in told[0]


def edited(episode, answer, **given):
    """The episode with another answer, and its true scores."""
    other = an_episode(episode.index, answer, golden_answers=episode.golden_answers)
    scores = {name: getattr(other, name) for name in ("answer", "status", "exact_match", "f1", "containment")}
    return replace(episode, **scores | given)


def test_an_answer_that_the_policy_never_wrote_is_told(record):
    lied = [edited(each, "Ada") for each in EPISODES_OF_TWO_SETS]
    told = measured(record, lied)
    assert "people, question 1: the answer 'Ada' isn't what the policy wrote in its transcript." in told
    assert "people, question 2: the answer 'Ada' isn't what the policy wrote in its transcript." in told
    assert not any("people, question 0" in each for each in told)
    assert any("question 0: the answer" in each for each in measured(record, [replace(e, segments=()) for e in lied]))


def test_an_answer_that_only_a_thought_or_a_document_holds_is_none(record):
    said = "<think>Ada? No.</think><answer>Bob</answer>"
    for segments in (
        (Segment("policy", said),),
        (Segment("policy", "<answer>Bob</answer>"), Segment("environment", "<answer>Ada</answer>")),
    ):
        lied = [edited(each, "Ada", segments=segments) for each in EPISODES_OF_TWO_SETS]
        assert any("isn't what the policy wrote" in each for each in measured(record, lied))


def test_another_agent_reads_its_answer_out_of_a_text(tmp_path):
    said = (Segment("policy", "So it is **\\boxed{\\text{Ada} L.}**"),)
    agent = {"row": {"agent": "ra-agent"}, "agent": {"name": "ra-agent"}}
    honest = a_record(tmp_path / "a", [an_episode(0, "Ada L.", segments=said)], **agent)
    assert validate_record(honest.folder) == []
    torn = (
        Segment("policy", "Ada<think>Bob?</think> L.<answer>"),
        Segment("environment", "Bob"),
        Segment("policy", "x"),
    )
    honest = a_record(tmp_path / "c", [an_episode(0, "Ada L.", segments=torn)], **agent)
    assert validate_record(honest.folder) == []
    lied = a_record(tmp_path / "b", [an_episode(0, "Bob", segments=said)], **agent)
    assert any("isn't what the policy wrote" in each for each in validate_record(lied.folder))


def test_wrong_answers_that_are_called_failed_make_no_complete_record(record):
    failed = [edited(each, None, status="failed") if not each.exact_match else each for each in EPISODES_OF_TWO_SETS]
    told = measured(record, failed, num_failed=sum(each.failed for each in failed))
    assert "The record is said to be complete, and 3 of its questions failed: that makes it partial." in told


def test_a_status_fits_its_answer(record):
    told = measured(record, [replace(each, status="answered") for each in EPISODES_OF_TWO_SETS])
    assert "people, question 1: its status is 'answered', and its answer None." in told
    told = measured(record, [replace(each, status="out_of_turns") for each in EPISODES_OF_TWO_SETS])
    assert "people, question 0: its status is 'out_of_turns', and its answer 'Ada'." in told


def test_what_a_row_is_called_is_what_was_played(record):
    told = changed(record, agent=record.content["agent"] | {"name": "direct"})
    assert "row: agent is 'zerosearch', and the record's agent is called 'direct'." in told
    told = changed(record, engine=record.content["engine"] | {"kind": "real"})
    assert any("kind is said to be 'real'; the search mode 'template' is 'simulated'" in each for each in told)
    engine = {"name": "template", "search_mode": "closed-book", "kind": "closed-book", "options": {}}
    assert "A closed book finds nothing, and the record's searches found 3 documents." in changed(record, engine=engine)


def test_verdicts_need_a_judge_and_its_agreement_is_made_again(record):
    judged = [replace(each, judged=True) for each in EPISODES_OF_TWO_SETS]
    assert "Answers are judged, and no judge is named in settings." in measured(record, judged)
    settings = record.content["settings"] | {"judge": {"model": "m"}}
    lied = agreement(judged) | {"agree": 1.0}
    told = measured(record, judged, settings=settings, judging=lied)
    assert any(each.startswith("judging is said to be") for each in told)
    assert not any("judg" in each for each in measured(record, judged, settings=settings, judging=agreement(judged)))


def test_a_set_holds_as_many_questions_as_its_limit_picks(record):
    sets = [each | {"size": 50} for each in record.content["sets"]]
    assert any(
        "has 50 questions, of which a limit of None picks 50, and n is 3" in e for e in changed(record, sets=sets)
    )
    sets = [each | {"source_fingerprint": "0" * 16} for each in record.content["sets"]]
    assert any("they have another hash than the set" in each for each in changed(record, sets=sets))


def test_turns_and_what_searches_took_add_up(record):
    told = measured(
        record, [replace(each, num_turns=1) for each in EPISODES_OF_TWO_SETS[:1]] + EPISODES_OF_TWO_SETS[1:]
    )
    assert not any("turns are said" in each for each in told)
    told = measured(record, [replace(each, num_invalid=5) for each in EPISODES_OF_TWO_SETS])
    assert "people, question 0: 2 turns are said, and they hold 1 searches and 5 invalid actions." in told
    told = measured(record, [replace(each, search_cost=0.0) for each in EPISODES_OF_TWO_SETS])
    assert "people, question 0: search_cost is said to be 0.0, and that of its searches is 0.01." in told


@pytest.mark.parametrize(
    "given",
    [
        {"seconds": float("nan")},
        {"seconds": "1"},
        {"prompt_tokens": -5},
        {"index": True},
        {"exact_match": None},
        {"answer": ["Ada"]},
        {"status": ["answered"]},
        {"golden_answers": "Ada"},
        {"searches": (search(latency_s=float("inf")),)},
        {"searches": (search(contains_golden="yes"),)},
    ],
)
def test_an_episode_of_other_types_is_told_and_nothing_crashes(record, given):
    strange = [replace(EPISODES_OF_TWO_SETS[0], **given), *EPISODES_OF_TWO_SETS[1:]]
    (told,) = with_episodes(record, strange)
    assert "line 1: Not a played episode" in told
