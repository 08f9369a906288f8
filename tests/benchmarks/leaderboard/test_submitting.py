"""Records are copied if they are what they say, and none is if one isn't."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.leaderboard.records import episodes_sha256
from tests.benchmarks.leaderboard.helpers import record_in, run, write_policy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with searches and prices."""
    folder = tmp_path_factory.mktemp("made")
    flags = ["--agent", "zerosearch", "--callable", write_policy(folder), "--limit", 12, "--price-per-hour", 2]
    assert run(folder / "out", *flags) == 0
    return record_in(folder / "out").folder


@pytest.fixture
def record(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs" / made.name))


def submit(*flags: object) -> int:
    return main(["leaderboard", "submit", *map(str, flags)])


def change_record(record: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((record / "record.json").read_text())
    change(content)
    (record / "record.json").write_text(json.dumps(content, indent=2) + "\n")


def change_episode(record: Path, *, mend_hash: bool, **changes: Any) -> None:
    path = record / "episodes.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    lines[0] |= changes
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    if mend_hash:
        change_record(record, lambda content: content["episodes"].update(sha256=episodes_sha256(path)))


def test_a_record_is_copied_whole_and_nothing_else(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (record / "notes.txt").write_text("mine")
    board = tmp_path / "board"
    assert submit(record.parent, "--to", board) == 0
    assert f"{record.name}: new" in capsys.readouterr().out
    assert sorted(path.name for path in (board / record.name).iterdir()) == ["episodes.jsonl.gz", "record.json"]
    assert (board / record.name / "record.json").read_bytes() == (record / "record.json").read_bytes()
    assert submit(record, "--to", board) == 0
    assert "there already" in capsys.readouterr().out


TAMPERED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a figure": (lambda r: change_record(r, lambda c: c["macro"]["em"].update(value=0.99)), "macro: em: value"),
    "a set's figure": (lambda r: change_record(r, lambda c: c["sets"][0]["metrics"].update(searches=0.1)), "searches"),
    "a cost": (lambda r: change_record(r, lambda c: c["macro"]["cost"].update(value=0.0)), "macro: cost"),
    "the prices": (lambda r: change_record(r, lambda c: c["settings"]["prices"].update(per_hour=1.0)), "cost"),
    "the seed": (lambda r: change_record(r, lambda c: c["settings"].update(seed=1)), "The folder is called"),
    "the policy's name": (
        lambda r: change_record(r, lambda c: c["row"].update(policy="better")),
        "The folder is called",
    ),
    "the weights": (lambda r: change_record(r, lambda c: c.update(fingerprints={"function": "0"})), "The folder is"),
    "the set's hash": (
        lambda r: change_record(r, lambda c: c["sets"][0].update(source_fingerprint="0" * 16)),
        "pinned",
    ),
    "the state": (lambda r: change_record(r, lambda c: c.update(state="partial")), "A partial record says why"),
    "the schema": (lambda r: change_record(r, lambda c: c.update(schema="zerosearch.leaderboard/0")), "no record of"),
    "a field taken out": (lambda r: change_record(r, lambda c: c.pop("machine")), "has no 'machine'"),
    "a key": (lambda r: change_record(r, lambda c: c["model"].update(api_key="abc")), "called like a secret"),
    "a folder": (lambda r: change_record(r, lambda c: c["model"].update(path="/home/me/x")), "names a folder"),
    "a server": (lambda r: change_record(r, lambda c: c["model"].update(at="http://10.0.0.1/v1")), "names a server"),
    "an answer": (lambda r: change_episode(r, mend_hash=False, answer="x"), "its hash differs"),
    "an answer and the hash": (lambda r: change_episode(r, mend_hash=True, exact_match=1.0, answer="x"), "is worth 0"),
    "a score and the hash": (lambda r: change_episode(r, mend_hash=True, f1=0.987), "f1 is said to be 0.987"),
    "a golden answer": (lambda r: change_episode(r, mend_hash=True, golden_answers=["x"]), "fingerprint"),
    "a question left out": (lambda r: change_episode(r, mend_hash=True, index=99), "numbered 0 to 11"),
    "a failure": (lambda r: change_episode(r, mend_hash=True, status="failed"), "num_failed"),
    "no record": (lambda r: (r / "record.json").write_text("{"), "can't be read"),
    "no episodes": (lambda r: (r / "episodes.jsonl.gz").write_bytes(b"x"), "can't be read"),
    "the folder's name": (lambda r: r.rename(r.with_name("better")) and None, "The folder is called 'better'"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_is_refused(
    what: str, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper, says = TAMPERED[what]
    tamper(record)
    assert submit(record.parent, "--to", tmp_path / "board") == 2
    told = capsys.readouterr().err
    assert says in told
    assert "Nothing was copied" in told
    assert not (tmp_path / "board").exists()


def test_none_is_copied_if_one_is_refused(record: Path, tmp_path: Path) -> None:
    assert run(record.parent, "--agent", "oracle", "--limit", 5) == 0
    change_record(record, lambda content: content["macro"].update(searches=9))
    assert submit(record.parent, "--to", tmp_path / "board") == 2
    assert not (tmp_path / "board").exists()


def test_another_record_of_the_same_name_stays_unless_told_otherwise(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board"
    assert submit(record, "--to", board) == 0
    before = (board / record.name / "record.json").read_bytes()
    change_record(record, lambda content: content.update(date="2026-01-01"))
    assert submit(record, "--to", board) == 2
    assert "give --replace" in capsys.readouterr().err
    assert (board / record.name / "record.json").read_bytes() == before
    assert submit(record, "--to", board, "--replace") == 0
    assert (board / record.name / "record.json").read_bytes() != before


def test_checking_copies_nothing(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(record, "--to", tmp_path / "board", "--check-only") == 0
    assert "is what it says" in capsys.readouterr().out
    assert not (tmp_path / "board").exists()


def test_a_folder_without_records_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(tmp_path) == 2
    assert "holds no record" in capsys.readouterr().err
