from __future__ import annotations

import json
from pathlib import Path

import pytest

from zs_env.errors import ConfigError
from zs_env.tuning.keeping import KeptFile, is_busy, read_header

HEADER = {"schema": "test/1", "topk": 5, "policy": {"name": "question", "seed": 1}}


def test_rows_are_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "kept.jsonl"
    kept = KeptFile(path, HEADER)
    assert kept.rows == []
    kept.write([{"a": 1}, {"b": "é\ud800"}])
    kept.close()
    again = KeptFile(path, HEADER)
    assert again.rows == [{"a": 1}, {"b": "é?"}]
    assert again.ends[-1] == again.size == path.stat().st_size
    again.close()


def test_a_line_that_a_kill_cut_off_is_taken_away_and_a_broken_one_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text(json.dumps(HEADER) + '\n{"a": 1}\nnonsense\n{"a": 2}\n{"a": 3')
    kept = KeptFile(path, HEADER)
    kept.write([{"a": 4}])
    kept.close()
    assert kept.rows == [{"a": 1}, {"a": 2}]
    assert path.read_text().splitlines()[1:] == ['{"a": 1}', "nonsense", '{"a": 2}', '{"a": 4}']


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({**HEADER, "topk": 3}, "topk is 5 there and 3 here"),
        ({**HEADER, "policy": {"name": "question", "seed": 2}}, "policy.seed is 1 there and 2 here"),
        ({"schema": "test/1", "topk": 5}, "policy is {'name': 'question', 'seed': 1} there and None here"),
        ({**HEADER, "schema": "test/2"}, "no file of test/2"),
    ],
)
def test_a_file_of_other_settings_is_refused_and_left_as_it_is(tmp_path: Path, header: object, said: str) -> None:
    path = tmp_path / "kept.jsonl"
    kept = KeptFile(path, HEADER)
    kept.write([{"a": 1}])
    kept.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=said):
        KeptFile(path, header)  # type: ignore[arg-type]
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"\xff\xfe my notes")
    with pytest.raises(ConfigError, match="another file"):
        KeptFile(path, HEADER)
    with pytest.raises(ConfigError, match="can't be written"):
        KeptFile(tmp_path, HEADER)


def test_two_commands_dont_write_one_file(tmp_path: Path) -> None:
    first = KeptFile(tmp_path / "kept.jsonl", HEADER)
    with pytest.raises(ConfigError, match="another command"):
        KeptFile(tmp_path / "kept.jsonl", {**HEADER, "topk": 3})
    first.close()
    KeptFile(tmp_path / "kept.jsonl", HEADER).close()


def test_a_file_of_nothing_but_a_header_is_made_anew(tmp_path: Path) -> None:
    for before in (json.dumps({**HEADER, "topk": 3}) + "\n", json.dumps(HEADER)[:9], ""):
        path = tmp_path / f"{len(before)}.jsonl"
        path.write_text(before)
        if before.endswith("\n") or not before:
            KeptFile(path, HEADER).close()
            assert path.read_text() == json.dumps(HEADER) + "\n"
        else:
            with pytest.raises(ConfigError, match="another file"):
                KeptFile(path, HEADER)
            assert path.read_text() == before


def test_a_full_disk_leaves_whole_lines() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    kept = object.__new__(KeptFile)
    kept.path = full
    with full.open("wb", buffering=0) as file:
        kept._file = file.fileno()
        with pytest.raises(ConfigError, match=r"can't be written any more.*No space left"):
            kept.write([{"a": 1}])


def test_whether_another_command_writes_a_file_can_be_told(tmp_path: Path) -> None:
    kept = KeptFile(tmp_path / "kept.jsonl", HEADER)
    assert is_busy(kept.path)
    kept.close()
    assert not is_busy(kept.path)
    assert read_header(kept.path) == HEADER
    KeptFile(kept.path, HEADER).close()  # looking held nobody up


def test_the_way_out_of_a_refusal_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text(json.dumps(HEADER) + '\n{"a": 1}\n')
    with pytest.raises(ConfigError, match="Give these, or name another folder"):
        KeptFile(path, {**HEADER, "topk": 3}, instead="name another folder")
