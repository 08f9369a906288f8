import pytest

from benchmarks.leaderboard.gap import find_gaps
from benchmarks.leaderboard.pairs import Scores
from tests.benchmarks.leaderboard.making import a_record, an_episode


def played(answers):
    return [an_episode(index, "Ada" if right == "x" else "Bob") for index, right in enumerate(answers)]


def kind(root, kind, answers, engine=None, **given):
    engine = engine or {"closed-book": "closed-book", "simulated": "template", "real": "bm25"}[kind]
    row = {"eval_engine": engine, **given.pop("row", {})}
    return a_record(root, played(answers), row=row, engine={"name": engine, "kind": kind}, **given)


def test_the_gap_is_what_searching_brings_and_what_the_simulator_flatters(tmp_path):
    closed, simulated, real = (
        kind(tmp_path, name, answers)
        for name, answers in (("closed-book", "x........."), ("simulated", "xxxxxxxx.."), ("real", "xxxxx....."))
    )
    (gap,) = find_gaps([real, closed, simulated])
    assert list(gap.rows) == ["closed-book", "simulated", "real"]
    assert gap.rows["real"][0]["em"]["value"] == 0.5
    assert gap.rows["real"][0]["engine"] == "bm25"
    found_by_searching, flattery = gap.difference("closed-book", "real"), gap.difference("simulated", "real")
    assert found_by_searching["difference"] == pytest.approx(0.4)
    assert found_by_searching["p"] == 0.125  # four to none: 2 / 2**4
    assert flattery["difference"] == pytest.approx(-0.3)
    assert (flattery["from"], flattery["to"]) == (simulated.slug, real.slug)
    assert flattery["ci"][0] < -0.3 < flattery["ci"][1]
    assert gap.slugs() == [closed.slug, simulated.slug, real.slug]
    assert gap.difference("closed-book", "mixed") is None


def test_several_engines_of_a_kind_are_all_shown(tmp_path):
    records = [kind(tmp_path, "simulated", "xx.", name) for name in ("template", "simulate_sft")]
    records += [kind(tmp_path, "simulated", "x..", settings={"noise_probability": 0.5}), kind(tmp_path, "real", "x..")]
    (gap,) = find_gaps(records)
    assert sorted((row["engine"], row["noise_probability"]) for row in gap.rows["simulated"]) == [
        ("simulate_sft", 0.0),
        ("template", 0.0),
        ("template", 0.5),
    ]
    assert len(gap.differences) == 3


def test_other_policies_settings_and_questions_have_gaps_of_their_own(tmp_path):
    records = [
        kind(tmp_path, "closed-book", "x.."),
        kind(tmp_path, "real", "xx.", row={"policy": "another"}),
        kind(tmp_path, "real", "xx.", settings={"topk": 3}),
        kind(tmp_path, "real", "xx.", row={"train_engine": "template"}),
        kind(tmp_path, "real", "xx.", fingerprints={"model": "w2"}),
        kind(tmp_path, "real", "xx"),
    ]
    assert find_gaps(records) == []
    assert find_gaps([]) == []


def test_a_partial_record_has_no_part_in_it(tmp_path):
    partial = kind(tmp_path, "real", "xx.", state="partial", why_partial="gone")
    assert find_gaps([kind(tmp_path, "closed-book", "x.."), partial]) == []


def test_scores_that_were_read_already_are_taken(tmp_path):
    records = [kind(tmp_path, "closed-book", "x.."), kind(tmp_path, "real", "xx.")]
    scores = {record.slug: Scores.of(record.episodes()) for record in records}
    for record in records:
        (record.folder / "episodes.jsonl.gz").unlink()
    (gap,) = find_gaps(records, scores)
    assert gap.difference("closed-book", "real")["n"] == 3
