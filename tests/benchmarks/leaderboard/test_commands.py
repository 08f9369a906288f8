"""`compare`, `list`, `pin`, `build` and `check`, on records of real runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.leaderboard.records import read_records
from benchmarks.leaderboard.suites import load_suite
from tests.benchmarks.leaderboard.helpers import record_in, rewrite, run
from tests.benchmarks.leaderboard.made_records import made_record


def board(*flags: object) -> int:
    return main(["leaderboard", *map(str, flags)])


@pytest.fixture(scope="module")
def bounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bounds")
    assert run(out, "--agent", "oracle", "random", "--limit", 40) == 0
    return out


def test_compare_tells_the_difference_with_its_interval(
    bounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle, random = (record.slug for record in read_records(bounds))
    file = tmp_path / "compared.json"
    assert board("compare", oracle, bounds / random, "--records", bounds, "--json", file) == 0
    told = capsys.readouterr().out
    assert "| atlas | 40 |" in told
    assert "< 0.001" in told
    assert "macro" not in told  # of one set, it would say the same again
    found = json.loads(file.read_text())
    assert found["sets"]["atlas"]["difference"] > 0.9
    assert (found["first"], found["second"]) == (oracle, random)


def test_compare_refuses_other_questions_and_says_which(
    bounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--agent", "oracle", "--limit", 41) == 0
    first, other = read_records(bounds)[0], record_in(tmp_path)
    capsys.readouterr()
    assert board("compare", first.folder, other.folder) == 2
    told = capsys.readouterr()
    assert "other questions were played: limit 40" in told.err
    assert "--limit" in told.err
    assert told.out == ""


def test_compare_refuses_what_is_partial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--agent", "oracle", "random", "--limit", 5) == 0
    first, second = (record.folder for record in read_records(tmp_path))
    rewrite(first, state="partial", why_partial="a server was gone")
    capsys.readouterr()
    assert board("compare", first, second) == 2
    assert "a server was gone" in capsys.readouterr().err


def test_help_shows_no_formatting(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "compare", "submit", "build", "check", "pin", "list"):
        with pytest.raises(SystemExit):
            board(command, "--help")
        assert "%%" not in capsys.readouterr().out


def test_list_tells_rows_of_one_engine_apart_by_their_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for noise in (0.0, 0.25):
        made_record(tmp_path, eval_engine="template", settings={"noise_probability": noise})
    assert board("list", "--records", tmp_path) == 0
    told = capsys.readouterr().out
    assert told.count("| template, noise 0.25 |") == 2  # among all figures, and by set
    assert told.count("| template ") == 2


def test_compare_names_what_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board("compare", "nosuch", "either", "--records", tmp_path) == 2
    assert "'nosuch' is no record's folder" in capsys.readouterr().err


def test_list_tells_suites_agents_and_records(bounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board("list", "--records", bounds) == 0
    told = capsys.readouterr().out
    for part in ("| zerosearch | nq", "| search-o1", "2 records", read_records(bounds)[0].slug):
        assert part in told


def test_pin_fills_in_what_a_suite_doesn_t_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = tmp_path / "q.jsonl"
    questions.write_text(json.dumps({"question": "Who?", "golden_answers": ["I"]}) + "\n")
    (tmp_path / "mine.toml").write_text(f'name = "mine"\nversion = 1\n[[set]]\nname = "q"\nplace = "{questions}"\n')
    pinned = tmp_path / "pinned.toml"
    assert board("pin", tmp_path / "mine.toml", "--out", pinned) == 0
    assert "| q " in capsys.readouterr().out
    assert load_suite(pinned).sets[0].size == 1
    assert run(tmp_path / "out", "--agent", "oracle", "--suite", pinned) == 0
    questions.write_text(json.dumps({"question": "Who else?", "golden_answers": ["I"]}) + "\n")
    assert run(tmp_path / "out", "--agent", "oracle", "--suite", pinned) == 2
    assert "isn't what its suite pins" in capsys.readouterr().err


def test_build_writes_what_check_accepts_and_nothing_else(
    bounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--records", bounds, "--markdown", tmp_path / "table.md", "--page", tmp_path / "board"]
    assert board("build", *flags) == 0
    assert board("check", *flags) == 0
    (tmp_path / "table.md").write_text("| oracle | 2.000 |")
    assert board("check", *flags) == 1
    assert "table.md" in capsys.readouterr().out
