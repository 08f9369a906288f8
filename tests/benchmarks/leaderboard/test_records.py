import gzip
import json

import pytest

from benchmarks.leaderboard.episodes import read_episodes
from benchmarks.leaderboard.errors import RecordError
from benchmarks.leaderboard.records import EPISODES, RECORD, SCHEMA, by_set, episodes_sha256, read_record, read_records
from tests.benchmarks.leaderboard.making import a_record, an_episode, renamed


def test_what_is_written_is_read_again(tmp_path):
    episodes = [an_episode(0), an_episode(1, "Bob")]
    written = a_record(tmp_path, episodes)
    read = read_record(written.folder)
    assert read.content == written.content
    assert read.content["schema"] == SCHEMA
    assert read.content["episodes"]["n"] == 2
    assert read.episodes() == episodes
    assert read.slug == written.folder.name
    assert read.is_complete
    assert [record.slug for record in read_records(tmp_path)] == [read.slug]


def test_episodes_are_put_in_the_order_of_sets_and_indices(tmp_path):
    people, others = [an_episode(0), an_episode(1)], renamed([an_episode(0), an_episode(1)], "others")
    record = a_record(tmp_path, [people[1], others[1], others[0], people[0]])
    assert [(each.set, each.index) for each in record.episodes()] == [
        ("people", 0),
        ("people", 1),
        ("others", 0),
        ("others", 1),
    ]


def test_an_equal_record_is_an_equal_folder(tmp_path):
    first, second = (a_record(tmp_path / name, [an_episode(0)]) for name in "ab")
    for name in (RECORD, EPISODES):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_what_else_is_in_the_folder_stays(tmp_path):
    folder = a_record(tmp_path, [an_episode(0)]).folder
    (folder / ".episodes.jsonl").write_text("mine")
    a_record(tmp_path, [an_episode(0)])
    assert (folder / ".episodes.jsonl").read_text() == "mine"


def test_the_hash_is_of_the_text_however_it_is_packed(tmp_path):
    record = a_record(tmp_path, [an_episode(0)])
    packed = record.folder / EPISODES
    text = gzip.decompress(packed.read_bytes())
    packed.write_bytes(gzip.compress(text, compresslevel=1))
    assert episodes_sha256(packed) == record.content["episodes"]["sha256"]


def test_a_folder_without_a_record_is_passed_over(tmp_path):
    (tmp_path / "going-on").mkdir()
    assert read_records(tmp_path) == []
    assert read_records(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "can't be read as a record"),
        ("[]", "it says 'list'"),
        ('{"schema": "zerosearch.leaderboard/0"}', "it says 'zerosearch.leaderboard/0'"),
        ('{"schema": NaN}', "NaN, which is no JSON"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, text, told):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(RecordError, match=told):
        read_record(tmp_path)


def test_no_figure_may_be_no_number(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        a_record(tmp_path, [an_episode(0)], seconds=float("nan"))


def test_broken_episodes_are_named_with_their_record(tmp_path):
    record = a_record(tmp_path, [an_episode(0)])
    (record.folder / EPISODES).write_bytes(b"not packed")
    with pytest.raises(RecordError, match=record.slug):
        record.episodes()
    with pytest.raises(RecordError, match=r"episodes\.jsonl\.gz can't be read"):
        episodes_sha256(record.folder / EPISODES)


def test_episodes_of_another_set_are_refused():
    with pytest.raises(RecordError, match="'people', which the record doesn't have: others"):
        by_set({"sets": [{"name": "others"}]}, [an_episode(0)])
    assert by_set({"sets": [{"name": "others"}]}, []) == {"others": []}


def test_a_line_is_an_episode(tmp_path):
    record = a_record(tmp_path, [an_episode(0)])
    lines = gzip.decompress((record.folder / EPISODES).read_bytes()).decode().splitlines()
    assert json.loads(lines[0])["question_id"] == "q0"
    assert len(list(read_episodes(record.folder / EPISODES))) == 1
