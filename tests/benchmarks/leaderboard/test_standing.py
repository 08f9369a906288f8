"""Who stands where, and what is not said."""

from pathlib import Path

import pytest

from benchmarks.leaderboard.gap import Gap
from benchmarks.leaderboard.records import read_records
from benchmarks.leaderboard.standing import ALPHA, Group, _gap_of, group_records
from tests.benchmarks.leaderboard.made_records import made_record

SETS = {"one": 40, "two": 30}


def groups_of(root: Path) -> list[Group]:
    return group_records(read_records(root))


def test_rows_are_ranked_within_the_same_questions_alone(tmp_path: Path) -> None:
    for sets in (SETS, {"one": 39, "two": 30}):
        for policy, skill in (("good", 0.95), ("bad", 0.1)):
            made_record(tmp_path, policy=policy, sets=sets, skill=skill)
    made_record(tmp_path, policy="good", suite="another", sets=SETS)
    groups = groups_of(tmp_path)
    assert groups[0].title == "another"
    assert {group.title for group in groups[1:]} == {"made, 70 questions", "made, 69 questions"}
    assert len({group.id for group in groups}) == 3
    for group in groups[1:]:
        assert [(row.record.content["row"]["policy"], row.rank) for row in group.rows] == [("good", 1), ("bad", 2)]
        assert len(group.pairs) == 1


def test_bounds_and_partial_records_have_no_rank(tmp_path: Path) -> None:
    made_record(tmp_path, policy="policy", sets=SETS, skill=0.4)
    made_record(tmp_path, policy="oracle", agent="oracle", eval_engine="closed-book", sets=SETS, skill=2, searches=0)
    made_record(tmp_path, policy="cut off", sets=SETS, skill=0.9, state="partial", failed=3)
    (group,) = groups_of(tmp_path)
    told = {row.record.content["row"]["policy"]: (row.rank, row.unranked, row.tie) for row in group.rows}
    assert told == {"policy": (1, None, None), "oracle": (None, "bound", None), "cut off": (None, "partial", None)}
    slugs = {row.record.content["row"]["policy"]: row.slug for row in group.rows}
    assert list(group.pairs) == [(slugs["policy"], slugs["oracle"])]  # a partial record is compared with nothing


def test_a_row_that_no_test_tells_from_the_one_above_says_so(tmp_path: Path) -> None:
    for policy, skill in (("best", 0.95), ("nearly as good", 0.9), ("far below", 0.05)):
        made_record(tmp_path, policy=policy, sets=SETS, skill=skill)
    first, second, third = groups_of(tmp_path)[0].rows
    assert first.tie is None
    assert second.tie is not None
    assert second.tie["p"] >= ALPHA
    assert third.tie is None
    assert [row.rank for row in (first, second, third)] == [1, 2, 3]


def test_equal_figures_share_a_rank(tmp_path: Path) -> None:
    for policy in ("one", "other"):
        made_record(tmp_path, policy=policy, sets=SETS, skill=2.0)
    made_record(tmp_path, policy="below", sets=SETS, skill=0.3)
    assert [row.rank for row in groups_of(tmp_path)[0].rows] == [1, 1, 3]


def test_the_gap_holds_each_row_against_its_kin_on_the_other_kinds(tmp_path: Path) -> None:
    engines = {"closed-book": 0.1, "template": 0.95, "bm25": 0.6}
    for engine, skill in engines.items():
        made_record(tmp_path, policy="searcher", eval_engine=engine, sets=SETS, skill=skill)
    made_record(tmp_path, policy="alone", eval_engine="bm25", sets=SETS, skill=0.5)
    rows = {
        (row.record.content["row"]["policy"], row.record.content["row"]["eval_engine"]): row
        for row in groups_of(tmp_path)[0].rows
    }
    assert rows["alone", "bm25"].gap is None
    for engine in engines:
        gap = rows["searcher", engine].gap
        assert gap is not None
        assert [gap[kind]["slug"] for kind in ("closed_book", "simulated", "real")] == [
            rows["searcher", name].slug for name in engines
        ]
        assert gap["gap"]["value"] == round(gap["real"]["value"] - gap["simulated"]["value"], 4) < 0
        assert gap["gain"]["ci"][0] > 0


def test_rows_that_only_settings_tell_apart_say_which(tmp_path: Path) -> None:
    for seed in (0, 1):
        made_record(tmp_path, policy="twin", sets=SETS, seed=seed, settings={"temperature": 0.5})
    made_record(tmp_path, policy="single", sets=SETS)
    (group,) = groups_of(tmp_path)
    told = {row.slug: (row.record.content["row"]["policy"], dict(row.apart)) for row in group.rows}
    assert sorted(told.values(), key=str) == [("single", {}), ("twin", {"seed": 0}), ("twin", {"seed": 1})]


def test_no_records_are_no_groups(tmp_path: Path) -> None:
    assert groups_of(tmp_path / "nothing") == []


def test_a_real_row_is_held_against_the_engine_that_its_policy_was_trained_on() -> None:
    rows = [
        {"slug": name, "engine": name, "noise_probability": 0.0, "em": {"value": em, "ci": [0.0, 1.0]}}
        for name, em in (("another", 0.1), ("template", 0.9), ("bm25", 0.7))
    ]
    differences = [
        {"from": rows[at]["slug"], "to": "bm25", "difference": 0.7 - em, "ci": [-1.0, 1.0], "p": 0.5}
        for at, em in ((0, 0.1), (1, 0.9))
    ]
    kinds = {"simulated": rows[:2], "real": rows[2:]}
    gap = Gap(policy="mine", train_engine="template", rows=kinds, differences=differences)
    told = _gap_of("bm25", gap)
    assert told is not None
    assert (told["simulated"]["slug"], told["gap"]["value"]) == ("template", pytest.approx(-0.2))
