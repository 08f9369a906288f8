"""`leaderboard run` with a judge: real records, and a judge on a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.leaderboard.submitting import wrong_with
from tests.benchmarks.leaderboard.helpers import record_in, run, write_policy
from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, closed_port, say


def everything_is_right(seen: Seen) -> Do:
    return say("right")


def judged_by(url: str, *more: object) -> list[object]:
    return ["--judge-url", url, "--judge-model", "big", "--judge-option", "max_retries=0", *more]


def test_verdicts_stand_in_a_record_that_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer(everything_is_right) as server:
        assert run(tmp_path, "--agent", "random", "--limit", 12, *judged_by(server.base_url)) == 0
        asked = len(server.chats)
    record = record_in(tmp_path)
    assert record.content["macro"]["judged"]["value"] == 1.0
    assert record.content["macro"]["em"]["value"] < 1.0
    assert record.content["settings"]["judge"]["model"] == "big"
    assert str(server.port) not in (record.folder / "record.json").read_text()
    assert wrong_with(record.folder) == []
    assert 0 < asked <= 12
    assert "random on closed-book: the judge agrees with exact match on " in capsys.readouterr().err


def test_a_complete_record_is_judged_without_being_played_again(tmp_path: Path) -> None:
    flags = ["--agent", "oracle", "--limit", 5]
    assert run(tmp_path, *flags) == 0
    plain = record_in(tmp_path)
    assert plain.content["macro"]["judged"] is None
    with FaultServer(say("wrong")) as server:
        assert run(tmp_path, *flags, *judged_by(server.base_url)) == 0
        assert len(server.chats) == 5
        assert run(tmp_path, *flags, *judged_by(server.base_url)) == 0
        assert run(tmp_path, *flags, *judged_by(server.base_url), "--price-per-hour", 1) == 0
        assert len(server.chats) == 5
    judged = record_in(tmp_path)
    assert (judged.slug, judged.content["macro"]["judged"]["value"]) == (plain.slug, 0.0)
    assert [each.seconds for each in judged.episodes()] == [each.seconds for each in plain.episodes()]
    assert run(tmp_path, *flags) == 0
    assert record_in(tmp_path).content["settings"]["judge"]["model"] == "big"
    assert wrong_with(record_in(tmp_path).folder) == []


def test_another_judge_judges_anew(tmp_path: Path) -> None:
    flags = ["--agent", "oracle", "--limit", 5]
    with FaultServer(say("wrong")) as server:
        assert run(tmp_path, *flags, *judged_by(server.base_url)) == 0
    with FaultServer(say("right")) as server:
        assert run(tmp_path, *flags, *judged_by(server.base_url, "--judge-temperature", 0.5)) == 0
    assert record_in(tmp_path).content["macro"]["judged"]["value"] == 1.0
    assert record_in(tmp_path).content["settings"]["judge"]["temperature"] == 0.5


def test_a_judge_that_is_away_costs_verdicts_and_no_record(tmp_path: Path) -> None:
    flags = ["--agent", "zerosearch", "--callable", write_policy(tmp_path), "--limit", 8]
    out = tmp_path / "out"
    assert run(out, *flags, *judged_by(f"http://127.0.0.1:{closed_port()}/v1")) == 0
    record = record_in(out)
    assert record.is_complete
    assert record.content["macro"]["judged"] is None
    assert wrong_with(record.folder) == []
    with FaultServer(everything_is_right) as server:
        assert run(out, *flags, *judged_by(server.base_url)) == 0
    assert record_in(out).content["macro"]["judged"]["value"] == 1.0


def test_verdicts_of_a_stopped_run_don_t_outlive_their_judge(tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["--agent", "zerosearch", "--callable", write_policy(tmp_path), "--limit", 8, "--engine", "closed-book"]
    with FaultServer(everything_is_right) as server:
        assert run(out, *flags, *judged_by(server.base_url)) == 0
    record = record_in(out)
    (out / record.slug / "record.json").write_text(
        (out / record.slug / "record.json").read_text().replace('"state": "complete"', '"state": "partial"')
    )
    assert run(out, *flags) == 0
    assert record_in(out).content["settings"]["judge"] is None
    assert {each.judged for each in record_in(out).episodes()} == {None}
